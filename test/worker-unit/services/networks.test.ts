import { sql } from 'drizzle-orm';
import { beforeEach, describe, expect, it } from 'vitest';
import { NetworksPost } from '#protocol/api/network.ts';
import { failed, unavailable } from '#protocol/errors.ts';
import { createNetwork } from '#worker/services/network-create.ts';
import {
  changeNetwork,
  getLeases,
  getNetwork,
  getNetworkState,
  getNetworks,
  removeNetwork,
} from '#worker/services/networks.ts';
import { listWaitingCommands } from '#worker/state/commands.ts';
import { networkSpecsFor } from '#worker/state/networks.ts';
import { profiles } from '#worker/state/schema.ts';
import { addInstance } from '../state/helpers.ts';
import { openWorld, refusalOf, type World } from './resource-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});

const FIXED = { 'ipv4.address': '10.9.0.1/24', 'ipv4.nat': 'true', 'ipv6.address': 'none' };
const create = (change: Record<string, unknown> = {}, target: string | null = null) =>
  createNetwork(world.ctx, NetworksPost.parse({ name: 'my-network', type: '', ...change }), target);
const put = (config: Record<string, string>, target: string | null = null) =>
  changeNetwork(world.ctx, 'my-network', { description: undefined, config, merge: false }, target);
const show = (target: string | null = null) => getNetwork(world.ctx, 'my-network', target);
const names = () => world.ran.map(({ member, command }) => `${member} ${command.name}`);
const setInterfaces = (member: string, interfaces: string[]) =>
  world.db.run(
    sql`update members set resources = json_set(resources, '$.interfaces', json(${JSON.stringify(
      interfaces.map((name) => ({ name, type: 'physical', hwaddr: '' })),
    )})) where name = ${member}`,
  );

describe('two phases', () => {
  it('define on each member, then create on all', async () => {
    await create({}, 'node1');
    await create({ config: { 'bridge.external_interfaces': 'eth1' } }, 'node2');
    expect(await show()).toMatchObject({ status: 'Pending', locations: ['node1', 'node2'], config: {} });
    await create({ config: FIXED });
    expect(await show()).toEqual({
      config: FIXED,
      description: '',
      name: 'my-network',
      type: 'bridge',
      used_by: [],
      managed: true,
      status: 'Created',
      locations: ['node1', 'node2'],
    });
    expect((await show('node2')).config).toEqual({ ...FIXED, 'bridge.external_interfaces': 'eth1' });
    expect(await networkSpecsFor(world.db, ['my-network', 'my-network'], 'node2')).toEqual([
      {
        name: 'my-network',
        type: 'bridge',
        description: '',
        config: { ...FIXED, 'bridge.external_interfaces': 'eth1' },
      },
    ]);
    expect(world.actions().filter((action) => action === 'network-created')).toHaveLength(1);
  });

  it.each([
    [
      { config: { 'ipv4.address': '10.0.0.1/24' } },
      'node1',
      'bad_request',
      'Config key "ipv4.address" may not be used as member-specific key',
    ],
    [{}, 'nope', 'not_found', 'Cluster member not found'],
    [{ name: 'x' }, null, 'bad_request', 'Network interface is too short (minimum 2 characters)'],
    [{ type: 'ovn' }, null, 'bad_request', 'Network type "ovn" is not supported'],
    [{ config: { nope: '1' } }, null, 'bad_request', 'Invalid option for network "my-network" option "nope"'],
  ] as const)('refuse %j on %s', async (change, target, code, message) => {
    expect(await refusalOf(create(change, target))).toEqual({ code, message });
    expect(await getNetworks(world.ctx, null)).toEqual([]);
  });

  it('refuse a second definition, an incomplete final call and a second creation', async () => {
    await create({}, 'node1');
    expect((await refusalOf(create({}, 'node1'))).message).toBe('The network is already defined on member "node1"');
    expect(await refusalOf(create({ config: FIXED }))).toEqual({
      code: 'failed',
      message: 'Network not defined on nodes: node2',
    });
    await create({}, 'node2');
    await create({ config: FIXED });
    expect(await refusalOf(create({ config: FIXED }))).toEqual({
      code: 'failed',
      message: 'The network is already created',
    });
  });

  it('never take over an interface of a host', async () => {
    await setInterfaces('node2', ['my-network']);
    expect((await refusalOf(create())).message).toBe('The network already exists');
    expect((await refusalOf(create({}, 'node2'))).message).toBe('The network already exists');
    expect(world.ran).toEqual([]);
  });
});

describe('automatic addresses', () => {
  it('are different on every member; the network keeps saying auto', async () => {
    await create();
    expect((await show()).config).toEqual({
      'ipv4.address': 'auto',
      'ipv4.nat': 'true',
      'ipv6.address': 'auto',
      'ipv6.nat': 'true',
    });
    const [one, two] = [await show('node1'), await show('node2')];
    expect(one.config['ipv4.address']).toMatch(/^10\.\d+\.\d+\.1\/24$/);
    expect(one.config['ipv6.address']).toMatch(/^fd42:/);
    expect(one.config['ipv4.address']).not.toBe(two.config['ipv4.address']);
    expect(one.config['ipv6.address']).not.toBe(two.config['ipv6.address']);
  });

  it('of a second network avoid the first one’s', async () => {
    await create();
    await create({ name: 'other' });
    const all = [];
    for (const name of ['my-network', 'other']) {
      for (const member of ['node1', 'node2'])
        all.push((await getNetwork(world.ctx, name, member)).config['ipv4.address']);
    }
    expect(new Set(all).size).toBe(4);
  });

  it('are what the member took, not what it was offered', async () => {
    const { agent } = world;
    world.agent = (member, command) =>
      command.name === 'network.create' ? { config: { 'ipv4.address': '10.77.1.1/24' } } : agent(member, command);
    await create({ config: { 'ipv6.address': 'none' } });
    expect((await show('node1')).config['ipv4.address']).toBe('10.77.1.1/24');
    expect(world.ran[0]?.command.params).toMatchObject({
      preferredIpv4: expect.stringMatching(/^10\./),
      preferredIpv6: null,
      network: { config: { 'ipv4.address': 'auto' } },
    });
  });

  it('go when the address becomes fixed, and come back distinct when it is automatic again', async () => {
    await create({ config: { 'ipv6.address': 'none' } });
    await put(FIXED);
    expect((await show('node1')).config).toEqual(FIXED);
    await put({ 'ipv4.address': 'auto', 'ipv6.address': 'none' });
    const [one, two] = [await show('node1'), await show('node2')];
    expect(one.config['ipv4.address']).toMatch(/^10\.\d+\.\d+\.1\/24$/);
    expect(one.config['ipv4.address']).not.toBe(two.config['ipv4.address']);
    const last = world.ran.at(-1)?.command;
    expect(last).toMatchObject({
      name: 'network.update',
      params: { network: { config: { 'ipv4.address': two.config['ipv4.address'] } } },
    });
  });

  it('stay as they are in an unrelated change', async () => {
    await create();
    const before = (await show('node1')).config['ipv4.address'];
    await changeNetwork(world.ctx, 'my-network', { description: 'x', config: { 'user.a': 'b' }, merge: true }, null);
    expect((await show('node1')).config).toMatchObject({ 'ipv4.address': before, 'user.a': 'b' });
  });
});

describe('one step', () => {
  it('leaves an absent member’s part to its return', async () => {
    await world.setOnline('node2', false);
    await create({ config: FIXED });
    expect((await show()).status).toBe('Created');
    expect((await show('node2')).status).toBe('Pending');
    await world.setOnline('node2', true);
    expect((await show('node2')).status).toBe('Created');
  });

  it('that fails says why, is Errored, and can be repeated', async () => {
    const { agent } = world;
    world.agent = (member, command) => {
      if (member === 'node1') throw failed('dnsmasq is missing');
      return agent(member, command);
    };
    expect((await refusalOf(create({ config: FIXED }))).message).toBe('dnsmasq is missing');
    expect((await show()).status).toBe('Errored');
    world.agent = agent;
    world.ran.length = 0;
    await create();
    expect(names()).toEqual(['node1 network.create']);
    expect(await show()).toMatchObject({ status: 'Created', config: FIXED });
  });
});

describe('changing', () => {
  beforeEach(() => create({ config: FIXED }));

  it('tells the members that are there now and the others later', async () => {
    await world.setOnline('node2', false);
    world.ran.length = 0;
    await put({ ...FIXED, 'ipv4.dhcp': 'true', 'ipv4.nat': '' });
    expect(names()).toEqual(['node1 network.update']);
    expect(await listWaitingCommands(world.db, 'node2')).toMatchObject([{ name: 'network.update' }]);
    expect((await show()).config).toEqual({
      'ipv4.address': '10.9.0.1/24',
      'ipv4.dhcp': 'true',
      'ipv6.address': 'none',
    });
  });

  it('of one member changes its own keys only', async () => {
    world.ran.length = 0;
    await put({ ...(await show('node1')).config, 'bridge.external_interfaces': 'eth1' }, 'node1');
    expect(names()).toEqual(['node1 network.update']);
    expect((await show('node1')).config['bridge.external_interfaces']).toBe('eth1');
    expect((await show('node2')).config['bridge.external_interfaces']).toBeUndefined();
  });

  it.each([
    [
      { 'bridge.external_interfaces': 'eth1' },
      null,
      'Config key "bridge.external_interfaces" is cluster member specific',
    ],
    [{ 'ipv4.address': '10.8.0.1/24' }, 'node1', 'Config key "ipv4.address" may not be used as member-specific key'],
    [{ 'raw.dnsmasq': 'x' }, null, 'Invalid option for network "my-network" option "raw.dnsmasq": not supported'],
  ])('refuses %j on %s', async (config, target, message) => {
    expect(await refusalOf(put(config, target))).toEqual({ code: 'bad_request', message });
  });
});

describe('removing', () => {
  beforeEach(() => create({ config: FIXED }));

  it('removes it from every member', async () => {
    await removeNetwork(world.ctx, 'my-network');
    expect(await getNetworks(world.ctx, null)).toEqual([]);
    expect(names().slice(2)).toEqual(['node1 network.delete', 'node2 network.delete']);
  });

  it('is refused while used, by a device of its own, by a profile, or through one', async () => {
    const inUse = { code: 'bad_request', message: 'The network is currently in use' };
    await world.db.insert(profiles).values({
      project: 'default',
      name: 'web',
      config: {},
      devices: { eth0: { type: 'nic', network: 'my-network' } },
    });
    await addInstance(world.db, 'c1', { profiles: ['web'] });
    await addInstance(world.db, 'c2', {
      profiles: ['default'],
      devices: { eth0: { type: 'nic', nictype: 'bridged', parent: 'my-network' } },
    });
    await addInstance(world.db, 'c3', { profiles: ['web'], devices: { eth0: { type: 'none' } } });
    expect((await show()).used_by).toEqual(['/1.0/profiles/web', '/1.0/instances/c2', '/1.0/instances/c1']);
    expect(await refusalOf(removeNetwork(world.ctx, 'my-network'))).toEqual(inUse);
  });
});

describe('interfaces of hosts', () => {
  it('are listed where all members have them, or of the member asked', async () => {
    await setInterfaces('node1', ['eth0', 'eth1']);
    await setInterfaces('node2', ['eth0', 'br9']);
    const list = async (target: string | null) => (await getNetworks(world.ctx, target)).map(({ name }) => name);
    expect(await list(null)).toEqual(['eth0']);
    expect(await list('node1')).toEqual(['eth0', 'eth1']);
    world.ctx.principal.member = 'node2';
    expect(await list(null)).toEqual(['eth0', 'br9']);
    expect(await getNetwork(world.ctx, 'br9', null)).toMatchObject({ managed: false, status: '', locations: null });
    expect((await refusalOf(getNetwork(world.ctx, 'br9', 'node1'))).message).toBe('Network not found');
    expect((await refusalOf(list('nope'))).message).toBe('Cluster member not found');
  });
});

describe('state and leases', () => {
  const lease = { hostname: 'c1', hwaddr: '00:16:3e:00:00:01', address: '10.9.0.2', type: 'dynamic' };

  it('leases are the union over members that answer, with location', async () => {
    await create({ config: FIXED });
    const asked: string[] = [];
    world.query = async (member) => {
      asked.push(member);
      if (member === 'node2') throw unavailable('silent');
      return { leases: [lease] };
    };
    expect(await getLeases(world.ctx, 'my-network')).toEqual([{ ...lease, location: 'node1' }]);
    expect(asked).toEqual(['node1', 'node2']);
  });

  it('leases ask no member that is away or has no such network', async () => {
    await world.setOnline('node2', false);
    await create({ config: FIXED });
    const asked: string[] = [];
    world.query = async (member) => {
      asked.push(member);
      return { leases: [] };
    };
    await getLeases(world.ctx, 'my-network');
    expect(asked).toEqual(['node1']);
    expect((await refusalOf(getLeases(world.ctx, 'nope'))).message).toBe('Failed loading network: Network not found');
  });

  it('leases of other projects’ instances are hidden from a restricted caller', async () => {
    await create({ config: FIXED });
    const nic = { eth0: { type: 'nic', network: 'my-network' } };
    await addInstance(world.db, 'c1', { project: 'mine', devices: nic, profiles: [] });
    await addInstance(world.db, 'c9', { project: 'theirs', devices: nic, profiles: [] });
    world.query = async (member) => ({ leases: member === 'node1' ? [lease, { ...lease, hostname: 'c9' }] : [] });
    world.ctx.principal.projects = ['mine'];
    expect((await getLeases(world.ctx, 'my-network')).map(({ hostname }) => hostname)).toEqual(['c1']);
    expect((await show()).used_by).toEqual(['/1.0/instances/c1?project=mine']);
  });

  it('state comes from the target', async () => {
    await create({ config: FIXED });
    world.query = async (member) => ({ state: 'up', member });
    expect(await getNetworkState(world.ctx, 'my-network', 'node2')).toEqual({ state: 'up', member: 'node2' });
    expect(await getNetworkState(world.ctx, 'my-network', null)).toEqual({ state: 'up', member: 'node1' });
    expect((await refusalOf(getNetworkState(world.ctx, 'nope', null))).message).toBe(
      'Network interface "nope" not found',
    );
  });
});
