import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { refuse } from '#agent/commands/instance-state.ts';
import { planNics } from '#agent/commands/nics.ts';
import type { CommandParams, StateAction } from '#protocol/commands.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

let state: FakeHostState;
let host: Host;
beforeEach(() => {
  state = createFakeState();
  host = createFakeHost(state);
});
afterEach(() => state.cleanup());

const spec = instanceSpec();
const create = (overrides: Partial<CommandParams<'instance.create'>> = {}) =>
  execute(host, fakeContext(), {
    name: 'instance.create',
    params: { spec, image: imageSource(), pool: poolSpec(), networks: [networkSpec()], start: true, ...overrides },
  });
const change = (action: StateAction, overrides: Partial<CommandParams<'instance.state'>> = {}) =>
  execute(host, fakeContext(), {
    name: 'instance.state',
    params: { spec, action, timeoutSeconds: 5, force: false, ...overrides },
  });

it.each([
  ['start', 'Running', 'The instance is already running'],
  ['start', 'Stopped', null],
  ['stop', 'Stopped', 'The instance is already stopped'],
  ['stop', 'Frozen', null],
  ['restart', 'Stopped', 'The instance is already stopped'],
  ['freeze', 'Frozen', 'The container is already frozen'],
  ['freeze', 'Stopped', "The container isn't running"],
  ['unfreeze', 'Running', 'The container is already running'],
  ['unfreeze', 'Stopped', "The container isn't running"],
] as const)('answers %s of a %s instance as LXD does', (action, status, text) => {
  expect(refuse(action, status)).toBe(text);
});

describe('instance.create', () => {
  it('answers a fresh report and the volatile keys the host decided', async () => {
    const { report, volatile } = await create({ spec: { ...spec, expandedConfig: {} } });
    expect(report.status).toBe('Running');
    expect(volatile['volatile.last_state.power']).toBe('RUNNING');
    expect(volatile['volatile.eth0.host_name']).toMatch(/^veth[0-9a-f]{8}$/);
    expect(volatile['volatile.eth0.hwaddr']).toMatch(/^00:16:3e(:[0-9a-f]{2}){3}$/);
    // The device names it: nothing to remember.
    expect(volatile).not.toHaveProperty('volatile.eth0.name');
  });

  it('does not fetch an image that the pool has', async () => {
    state.images.add(imageSource().fingerprint);
    await create();
    expect(state.calls).not.toContain('image.fetch');
  });

  it('limits the root volume to the size of the root disk', async () => {
    const devices = { ...spec.expandedDevices, root: { type: 'disk', path: '/', pool: 'local', size: '1GiB' } };
    await create({ spec: { ...spec, expandedDevices: devices } });
    expect(state.quotas.get('c1')).toBe(1024 ** 3);
  });

  it('makes a network that came with the command and was not known here', async () => {
    const devices = { ...spec.expandedDevices, eth0: { type: 'nic', network: 'br1' } };
    await create({ spec: { ...spec, expandedDevices: devices }, networks: [networkSpec('br1')] });
    expect(host.journal.networks.find('br1')).toBeDefined();
    expect(state.nics).toEqual(new Set(['c1/eth0']));
  });

  it('refuses a NIC on a network that this host does not have', async () => {
    const devices = { ...spec.expandedDevices, eth0: { type: 'nic', network: 'nope' } };
    await expect(create({ spec: { ...spec, expandedDevices: devices }, networks: [] })).rejects.toThrow(
      'Network not found',
    );
  });
});

describe('instance.state', () => {
  it('starts with the newest spec', async () => {
    await create({ start: false });
    const newest = { ...spec, expandedConfig: { ...spec.expandedConfig, 'limits.memory': '1GiB' } };
    const { report } = await change('start', { spec: newest });
    expect(report.status).toBe('Running');
    expect(state.setups.get('default/c1')?.spec.expandedConfig['limits.memory']).toBe('1GiB');
    expect(host.journal.instances.find(spec)?.power).toBe('RUNNING');
  });

  it('thaws a frozen instance so that it can stop', async () => {
    await create();
    await change('freeze');
    await change('stop');
    expect(state.calls.slice(-3)).toEqual(['instance.unfreeze', 'instance.stop', 'volume.unmount']);
  });

  it('removes the host interface from the volatile keys at a stop', async () => {
    await create();
    const { volatile } = await change('stop');
    expect(volatile['volatile.eth0.host_name']).toBe('');
    expect(volatile['volatile.last_state.power']).toBe('STOPPED');
  });

  it('unmounts again when the start fails', async () => {
    await create({ start: false });
    state.at = (point) => {
      if (point === 'before instance.start') throw new Error('no');
    };
    await expect(change('start')).rejects.toThrow('no');
    expect(state.volumes.get('c1')).toBe(false);
  });

  it('takes what has lost its volume, or is not here, as stopped when it is to stop by force', async () => {
    await create({ start: false });
    await expect(change('stop', { force: true })).rejects.toThrow('already stopped');
    state.volumes.delete('c1');
    expect(await change('stop', { force: true })).toMatchObject({ report: { name: 'c1', status: 'Stopped' } });
    await expect(change('stop')).rejects.toThrow('already stopped');
    await expect(change('start')).rejects.toThrow('Storage volume not found');
    const other = instanceSpec({ name: 'gone' });
    expect(await change('stop', { spec: other, force: true })).toMatchObject({ report: { name: 'gone' } });
    expect(host.journal.instances.find(other)).toBeUndefined();
  });

  it('says that an instance is not here', async () => {
    await expect(change('start')).rejects.toMatchObject({ code: 'not_found', message: 'Instance not found' });
  });
});

describe('instance.update', () => {
  it('keeps everything as it was when the kernel refuses a limit', async () => {
    await create();
    const wanted = { ...spec, expandedConfig: { ...spec.expandedConfig, 'limits.memory': 'too-small' } };
    const update = execute(host, fakeContext(), { name: 'instance.update', params: { spec: wanted, networks: [] } });
    await expect(update).rejects.toThrow('busy');
    expect(host.journal.instances.find(spec)?.spec).toEqual(spec);
  });

  it('gives back the address of a NIC that was removed, and forgets what it was', async () => {
    await create();
    const { root } = spec.expandedDevices;
    const params = { spec: { ...spec, expandedDevices: { root: root ?? {} } }, networks: [] };
    expect(await execute(host, fakeContext(), { name: 'instance.update', params })).toMatchObject({
      volatile: { 'volatile.eth0.hwaddr': '', 'volatile.eth0.host_name': '' },
    });
    expect(state.nics.size).toBe(0);
  });
});

it('deletes what is left of an instance that nobody has recorded', async () => {
  state.volumes.set('c1', false);
  await execute(host, fakeContext(), { name: 'instance.delete', params: { ref: spec, pool: poolSpec() } });
  expect(state.volumes.size).toBe(0);
});

it('refuses to delete a pool in which instances of this host live', async () => {
  await create();
  const remove = execute(host, fakeContext(), { name: 'pool.delete', params: { pool: poolSpec() } });
  await expect(remove).rejects.toThrow('The storage pool is currently in use');
  expect(state.pools.has('local')).toBe(true);
});

it('plans NICs the same way every time, whatever the instance is called', () => {
  const devices = { a: { type: 'nic', network: 'x' }, b: { type: 'nic', nictype: 'bridged', parent: 'br0' } };
  const plain = { ...spec, expandedConfig: {}, expandedDevices: devices };
  const plans = planNics(plain, () => false);
  expect(planNics({ ...plain, name: 'renamed' }, () => false)).toEqual(plans);
  expect(plans.map((plan) => [plan.name, plan.managed])).toEqual([
    ['eth0', true],
    ['eth1', false],
  ]);
});
