import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { mustWait } from '#agent/commands/queue.ts';
import type { Command, InstanceSpec, VolumeSpec } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

let state: FakeHostState;
let host: Host;
beforeEach(() => {
  state = createFakeState();
  host = createFakeHost(state);
});
afterEach(() => state.cleanup());

const pool = poolSpec();
const web: VolumeSpec = { project: 'default', name: 'web', description: '', config: { size: '20MiB' } };
const create = (volume = web): Command => ({ id: 'create', name: 'volume.create', params: { pool, volume } });
const remove: Command = { id: 'delete', name: 'volume.delete', params: { pool, volume: web } };
const run = (command: Command) => execute(host, fakeContext(), command);

const withVolume = (overrides: Partial<InstanceSpec> = {}): InstanceSpec => {
  const spec = instanceSpec(overrides);
  const data = { type: 'disk', path: '/data', pool: 'local', source: 'web' };
  return { ...spec, expandedDevices: { ...spec.expandedDevices, data } };
};
const createInstance = (spec: InstanceSpec): Command => ({
  id: 'instance',
  name: 'instance.create',
  params: { spec, image: null, pool, networks: [networkSpec()], start: true },
});

describe('a custom volume', () => {
  it('is made under its project with its size', async () => {
    await run(create());
    await run(create({ ...web, project: 'p1', config: {} }));
    expect([...state.custom]).toEqual(['default_web', 'p1_web']);
    expect([...state.quotas]).toEqual([
      ['default_web', 20 * 2 ** 20],
      ['p1_web', null],
    ]);
  });

  it('leaves nothing when its size is refused', async () => {
    state.at = (point) => {
      if (point === 'before custom.quota') throw failed('out of space');
    };
    await expect(run(create())).rejects.toThrow('out of space');
    expect([...state.custom]).toEqual([]);
  });

  it('does not take over one that is there, nor remove it', async () => {
    state.custom.add('default_web');
    await expect(run(create())).rejects.toMatchObject({ code: 'conflict' });
    expect([...state.custom]).toEqual(['default_web']);
  });

  it('has its old size again when the new one is refused', async () => {
    await run(create());
    let refused = false;
    state.at = (point) => {
      if (point !== 'after custom.quota' || refused) return;
      refused = true;
      throw failed('too small');
    };
    const volume = { ...web, config: { size: '1MiB' } };
    const update: Command = { id: 'update', name: 'volume.update', params: { pool, volume, before: web } };
    await expect(run(update)).rejects.toThrow('too small');
    expect(state.quotas.get('default_web')).toBe(20 * 2 ** 20);
  });

  it('is mounted for its instance, with the instance’s id map, at each start', async () => {
    await run(create());
    const spec = withVolume();
    await run(createInstance(spec));
    expect(state.setups.get('default/c1')?.spec.expandedDevices.data).toEqual({
      type: 'disk',
      path: '/data',
      source: expect.stringContaining('custom-default_web/data'),
      shift: 'true',
    });
    expect(host.journal.instances.find(spec)?.spec.expandedDevices.data?.source).toBe('web');
    state.calls.length = 0;
    const restart = { spec, action: 'restart' as const, timeoutSeconds: 1, force: true };
    await run({ id: 'restart', name: 'instance.state', params: restart });
    expect(state.calls).toContain('custom.mount');
  });

  it('is refused to an instance of another project, in LXD’s words, and nothing is made', async () => {
    await run(create());
    const attempt = run(createInstance(withVolume({ project: 'p1' })));
    await expect(attempt).rejects.toThrow(
      'Failed add validation for device "data": Failed loading custom volume: Storage volume not found',
    );
    expect([...state.setups.keys()]).toEqual([]);
    expect([...state.volumes.keys()]).toEqual([]);
  });

  it('is lent to an instance of a project that borrows the volumes of this one', async () => {
    await run(create());
    await run(createInstance(withVolume({ project: 'p1', volumeProject: 'default' })));
    expect(state.calls).toContain('custom.mount');
    await expect(run(remove)).rejects.toThrow('The storage volume is still in use');
  });

  it('is kept while an instance has it, whatever the control plane believes', async () => {
    await run(create());
    await run(createInstance(withVolume()));
    await expect(run(remove)).rejects.toThrow('The storage volume is still in use');
    const rename: Command = { id: 'rename', name: 'volume.rename', params: { pool, volume: web, newName: 'web2' } };
    await expect(run(rename)).rejects.toThrow('The storage volume is still in use');
    await run({ id: 'gone', name: 'instance.delete', params: { ref: { project: 'default', name: 'c1' }, pool } });
    await run(remove);
    await run(remove);
    expect([...state.custom]).toEqual([]);
  });
});

describe('the order of commands', () => {
  it('makes a volume before what uses it, and beside other volumes', () => {
    expect(mustWait(create(), createInstance(withVolume()))).toBe(true);
    expect(mustWait(createInstance(withVolume()), remove)).toBe(true);
    expect(mustWait(create(), remove)).toBe(true);
    expect(mustWait(create(), create({ ...web, name: 'other' }))).toBe(false);
    expect(mustWait({ id: 'pool', name: 'pool.create', params: { pool } }, create())).toBe(true);
  });
});
