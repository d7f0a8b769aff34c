import { beforeEach, describe, expect, it } from 'vitest';
import { StoragePoolsPost } from '#protocol/api/storage-pool.ts';
import { failed } from '#protocol/errors.ts';
import { createPool } from '#worker/services/storage-pool-create.ts';
import { changePool, getPool, getPoolResources, getPools, removePool } from '#worker/services/storage-pools.ts';
import { getVolume, getVolumes } from '#worker/services/storage-volumes.ts';
import { listWaitingCommands } from '#worker/state/commands.ts';
import { poolSpecFor } from '#worker/state/pools.ts';
import { profiles } from '#worker/state/schema.ts';
import { addInstance } from '../state/helpers.ts';
import { openWorld, refusalOf, type World } from './resource-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});

const create = (change: Record<string, unknown> = {}, target: string | null = null) =>
  createPool(world.ctx, StoragePoolsPost.parse({ name: 'data', driver: 'dir', ...change }), target);
const put = (config: Record<string, string>, target: string | null = null) =>
  changePool(world.ctx, 'data', { description: undefined, config, merge: false }, target);
const names = () => world.ran.map(({ member, command }) => `${member} ${command.name}`);

describe('two phases', () => {
  it('define on each member, then create on all', async () => {
    await create({}, 'node1');
    expect(await getPool(world.ctx, 'data', null)).toMatchObject({ status: 'Pending', locations: ['node1'] });
    await create({ config: { source: '/srv/data' } }, 'node2');
    expect(world.ran).toEqual([]);
    await create({ config: { 'rsync.bwlimit': '10' }, description: 'd' });
    expect(await getPools(world.ctx)).toEqual([
      {
        config: { 'rsync.bwlimit': '10' },
        description: 'd',
        name: 'data',
        driver: 'dir',
        used_by: [],
        status: 'Created',
        locations: ['node1', 'node2'],
      },
    ]);
    expect((await getPool(world.ctx, 'data', 'node2')).config).toEqual({ 'rsync.bwlimit': '10', source: '/srv/data' });
    expect((await getPool(world.ctx, 'data', 'node1')).config).toEqual({
      'rsync.bwlimit': '10',
      source: '/var/lib/node1',
    });
    expect(await poolSpecFor(world.db, 'data', 'node2')).toEqual({
      name: 'data',
      driver: 'dir',
      config: { 'rsync.bwlimit': '10', source: '/srv/data' },
    });
    expect(world.actions().filter((action) => action === 'storage-pool-created')).toHaveLength(1);
  });

  it('refuse the final call while a member is not defined', async () => {
    await create({}, 'node1');
    expect(await refusalOf(create())).toEqual({ code: 'failed', message: 'Pool not defined on nodes: node2' });
    expect((await getPool(world.ctx, 'data', null)).status).toBe('Pending');
  });

  it.each([
    [
      { config: { 'rsync.bwlimit': '10' } },
      'node1',
      'failed',
      'Config key "rsync.bwlimit" may not be used as member-specific key',
    ],
    [
      { config: { source: 'x' } },
      'node1',
      'bad_request',
      'Invalid value for option "source": Source must be an absolute path: "x"',
    ],
    [{}, 'nope', 'not_found', 'Cluster member not found'],
    [{ name: 'a/b' }, null, 'bad_request', 'Storage pool names may not contain slashes'],
    [{ name: '' }, null, 'bad_request', 'No name provided'],
    [{ driver: '' }, null, 'bad_request', 'No driver provided'],
    [{ driver: 'ceph' }, null, 'bad_request', 'Storage driver "ceph" is not supported (use one of: zfs, btrfs, dir)'],
    [{ config: { nope: '1' } }, null, 'bad_request', 'Invalid option "nope"'],
  ] as const)('refuse %j on %s', async (change, target, code, message) => {
    expect(await refusalOf(create(change, target))).toEqual({ code, message });
    expect(await getPools(world.ctx)).toEqual([]);
  });

  it('refuse to define a member twice, another driver, and member keys in the final call', async () => {
    await create({}, 'node1');
    expect(await refusalOf(create({}, 'node1'))).toEqual({
      code: 'bad_request',
      message: 'The storage pool already defined on member "node1"',
    });
    expect((await refusalOf(create({ driver: 'zfs' }, 'node2'))).code).toBe('bad_request');
    await create({}, 'node2');
    expect((await refusalOf(create({ config: { source: '/x' } }))).message).toBe(
      'Config key "source" is cluster member specific',
    );
  });

  it('define once when two calls race', async () => {
    const results = await Promise.allSettled([create({}, 'node1'), create({}, 'node1')]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await getPool(world.ctx, 'data', null)).locations).toEqual(['node1']);
  });
});

describe('one step', () => {
  it('creates on all members, member keys included', async () => {
    await create({ driver: 'zfs', config: { size: '5GiB', 'volume.size': '1GiB' } });
    expect(names()).toEqual(['node1 pool.create', 'node2 pool.create']);
    expect(await getPool(world.ctx, 'data', null)).toMatchObject({
      config: { 'volume.size': '1GiB' },
      status: 'Created',
    });
    expect((await getPool(world.ctx, 'data', 'node1')).config.size).toBe('5GiB');
  });

  it('is refused for a pool that is there', async () => {
    await create();
    expect(await refusalOf(create())).toEqual({ code: 'failed', message: 'The storage pool is already created' });
    expect((await refusalOf(create({}, 'node1'))).message).toBe('The storage pool is already created');
  });

  it('leaves the part of an absent member to its return', async () => {
    await world.setOnline('node2', false);
    await create();
    expect(await getPool(world.ctx, 'data', null)).toMatchObject({ status: 'Created', locations: ['node1', 'node2'] });
    expect((await getPool(world.ctx, 'data', 'node2')).status).toBe('Pending');
    await world.setOnline('node2', true);
    expect((await getPool(world.ctx, 'data', 'node2')).status).toBe('Created');
  });

  it('works with nobody there, and is Created when the first member has it', async () => {
    await world.setOnline('node1', false);
    await world.setOnline('node2', false);
    await create();
    expect((await getPool(world.ctx, 'data', null)).status).toBe('Pending');
    await world.setOnline('node1', true);
    expect((await getPool(world.ctx, 'data', null)).status).toBe('Created');
  });

  it('that fails on a member says why, and can be repeated for that member alone', async () => {
    const { agent } = world;
    world.agent = (member, command) => {
      if (member === 'node2') throw failed('Source path "/var/lib/x" isn\'t empty');
      return agent(member, command);
    };
    expect(await refusalOf(create({ config: { 'rsync.bwlimit': '10' } }))).toEqual({
      code: 'failed',
      message: 'Source path "/var/lib/x" isn\'t empty',
    });
    expect((await getPool(world.ctx, 'data', null)).status).toBe('Errored');
    expect((await getPool(world.ctx, 'data', 'node1')).status).toBe('Created');
    expect((await refusalOf(create({ config: { 'rsync.bwlimit': '11' } }))).message).toMatch(
      /^Storage pool already partially created/,
    );

    world.agent = agent;
    world.ran.length = 0;
    await create({ config: { source: '/srv/other' } });
    expect(names()).toEqual(['node2 pool.create']);
    expect(await getPool(world.ctx, 'data', 'node2')).toMatchObject({
      status: 'Created',
      config: { 'rsync.bwlimit': '10', source: '/srv/other' },
    });
    expect((await getPool(world.ctx, 'data', null)).status).toBe('Created');
  });
});

describe('changing', () => {
  beforeEach(() => create({ config: { 'rsync.bwlimit': '10', source: '/srv' } }));

  it('replaces the cluster’s keys and tells the members', async () => {
    world.ran.length = 0;
    await put({ 'user.a': 'b', 'rsync.bwlimit': '' });
    expect((await getPool(world.ctx, 'data', null)).config).toEqual({ 'user.a': 'b' });
    expect(names()).toEqual(['node1 pool.update', 'node2 pool.update']);
    expect(world.ran[0]?.command.params).toEqual({
      pool: { name: 'data', driver: 'dir', config: { 'user.a': 'b', source: '/srv' } },
    });
    expect(world.actions()).toContain('storage-pool-updated');
  });

  it('merges in a PATCH, and sends nothing when nothing changed', async () => {
    await changePool(world.ctx, 'data', { description: 'new', config: { 'user.a': 'b' }, merge: true }, null);
    expect(await getPool(world.ctx, 'data', null)).toMatchObject({
      description: 'new',
      config: { 'rsync.bwlimit': '10', 'user.a': 'b' },
    });
    world.ran.length = 0;
    await changePool(world.ctx, 'data', { description: 'newer', config: {}, merge: true }, null);
    expect(world.ran).toEqual([]);
    expect((await getPool(world.ctx, 'data', null)).description).toBe('newer');
  });

  it('does not wait for an absent member', async () => {
    await world.setOnline('node2', false);
    await put({ 'user.a': 'b' });
    const [waiting] = await listWaitingCommands(world.db, 'node2');
    expect(waiting).toMatchObject({ name: 'pool.update', params: { pool: { config: { 'user.a': 'b' } } } });
  });

  it.each([
    [{ source: '/x' }, null, 'Config key "source" is cluster member specific'],
    [
      { 'rsync.bwlimit': '11', source: '/srv' },
      'node1',
      'Config key "rsync.bwlimit" may not be used as member-specific key',
    ],
    [{ source: '/elsewhere' }, 'node1', 'Pool source cannot be changed when not in pending state'],
    [{ nope: 'x' }, null, 'Invalid option "nope"'],
  ])('refuses %j on %s', async (config, target, message) => {
    expect(await refusalOf(put(config, target))).toEqual({ code: 'bad_request', message });
  });

  it('of one member takes back what its GET showed', async () => {
    const { config } = await getPool(world.ctx, 'data', 'node1');
    await put(config, 'node1');
    expect((await getPool(world.ctx, 'data', 'node1')).config).toEqual(config);
  });
});

describe('the size of one member’s part', () => {
  beforeEach(async () => {
    await create({ driver: 'btrfs', config: { size: '5GiB' } });
    world.ran.length = 0;
  });
  const sizeOn = async (member: string) => (await getPool(world.ctx, 'data', member)).config.size;

  it('grows there alone, and stays when it is left out', async () => {
    await put({ size: '8GiB' }, 'node2');
    expect(world.ran).toMatchObject([
      { member: 'node2', command: { name: 'pool.update', params: { pool: { config: { size: '8GiB' } } } } },
    ]);
    expect([await sizeOn('node1'), await sizeOn('node2')]).toEqual(['5GiB', '8GiB']);
    await put({}, 'node2');
    expect(await sizeOn('node2')).toBe('8GiB');
  });

  it('does not shrink', async () => {
    expect(await refusalOf(put({ size: '1GiB' }, 'node2'))).toEqual({
      code: 'bad_request',
      message: 'The storage pool cannot be made smaller',
    });
    expect(world.ran).toEqual([]);
  });

  it('is as it was when the member refuses', async () => {
    world.agent = () => {
      throw failed('Cannot resize non-loopback pools');
    };
    expect((await refusalOf(put({ size: '8GiB' }, 'node2'))).message).toBe('Cannot resize non-loopback pools');
    expect(await sizeOn('node2')).toBe('5GiB');
  });
});

describe('removing', () => {
  it('removes it from every member', async () => {
    await create();
    await removePool(world.ctx, 'data');
    expect(names().slice(2)).toEqual(['node1 pool.delete', 'node2 pool.delete']);
    expect(await getPools(world.ctx)).toEqual([]);
    expect(world.actions().filter((action) => action === 'storage-pool-deleted')).toHaveLength(1);
  });

  it('of a pool that is only defined asks no member', async () => {
    await create({}, 'node1');
    await removePool(world.ctx, 'data');
    expect(world.ran).toEqual([]);
    expect(await getPools(world.ctx)).toEqual([]);
    expect(world.actions()).toContain('storage-pool-deleted');
  });

  it('does not wait for an absent member, which removes it on its return', async () => {
    await create();
    await world.setOnline('node2', false);
    await removePool(world.ctx, 'data');
    expect(await getPools(world.ctx)).toEqual([]);
    world.ran.length = 0;
    await world.setOnline('node2', true);
    expect(names()).toEqual(['node2 pool.delete']);
  });

  it('keeps the pool when a member cannot', async () => {
    await create();
    world.agent = (member) => {
      if (member === 'node1') throw failed('target is busy');
      return {};
    };
    expect((await refusalOf(removePool(world.ctx, 'data'))).message).toBe('target is busy');
    expect((await getPool(world.ctx, 'data', null)).locations).toEqual(['node1']);
  });

  it('is refused while an instance or a profile uses it', async () => {
    await create();
    const inUse = { code: 'bad_request', message: 'The storage pool is currently in use' };
    await addInstance(world.db, 'c1', { pool: 'data', member: 'node1', project: 'p1' });
    expect(await refusalOf(removePool(world.ctx, 'data'))).toEqual(inUse);
    await world.db.insert(profiles).values({
      project: 'default',
      name: 'big',
      config: {},
      devices: { root: { type: 'disk', path: '/', pool: 'data' }, eth0: { type: 'nic', pool: 'data' } },
    });
    expect((await getPool(world.ctx, 'data', null)).used_by).toEqual([
      '/1.0/instances/c1?project=p1',
      '/1.0/profiles/big',
    ]);
    expect(world.ran.every(({ command }) => command.name === 'pool.create')).toBe(true);
  });

  it('of an unknown pool is 404', async () => {
    expect(await refusalOf(removePool(world.ctx, 'nope'))).toEqual({
      code: 'not_found',
      message: 'Storage pool not found',
    });
  });
});

describe('resources', () => {
  it('come from the target, or the first member that is there', async () => {
    await create();
    world.query = async (member) => ({
      space: { usedBytes: member === 'node1' ? 1 : 2, totalBytes: 10 },
      inodes: { used: 3, total: 4 },
    });
    expect(await getPoolResources(world.ctx, 'data', 'node2')).toEqual({
      space: { used: 2, total: 10 },
      inodes: { used: 3, total: 4 },
    });
    expect((await getPoolResources(world.ctx, 'data', null)).space.used).toBe(1);
    await world.setOnline('node1', false);
    expect((await getPoolResources(world.ctx, 'data', null)).space.used).toBe(2);
    await world.setOnline('node2', false);
    expect((await refusalOf(getPoolResources(world.ctx, 'data', null))).code).toBe('unavailable');
  });
});

describe('users of a pool', () => {
  it('are images, instances and profiles; with a target, those that are there', async () => {
    await create();
    const image = 'a'.repeat(64);
    await addInstance(world.db, 'c1', { pool: 'data', member: 'node1', config: { 'volatile.base_image': image } });
    await addInstance(world.db, 'c2', { pool: 'data', member: 'node2', config: { 'volatile.base_image': image } });
    await addInstance(world.db, 'c3', { pool: 'data', member: 'node2', config: { 'volatile.base_image': image } });
    const own = { project: 'default', config: {}, devices: { root: { type: 'disk', path: '/', pool: 'data' } } };
    await world.db.insert(profiles).values({ ...own, name: 'big' });
    const url = `/1.0/images/${image}?target=`;
    const there = ['/1.0/instances/c2', '/1.0/instances/c3', '/1.0/profiles/big'];
    expect((await getPool(world.ctx, 'data', null)).used_by).toEqual([
      `${url}node1`,
      `${url}node2`,
      '/1.0/instances/c1',
      ...there,
    ]);
    expect((await getPool(world.ctx, 'data', 'node2')).used_by).toEqual([`${url}node2`, ...there]);
  });
});

describe('volumes', () => {
  it('are the instances’ and the images they came from, with location', async () => {
    await create();
    const image = 'a'.repeat(64);
    await addInstance(world.db, 'c1', { pool: 'data', member: 'node1', config: { 'volatile.base_image': image } });
    await addInstance(world.db, 'c2', { pool: 'data', member: 'node2', config: { 'volatile.base_image': image } });
    await addInstance(world.db, 'c3', { pool: 'other', member: 'node2' });
    const scope = { projects: ['default'], target: null, type: null };
    const volumes = await getVolumes(world.ctx, 'data', scope);
    expect(volumes.map(({ type, name, location }) => [type, name, location])).toEqual([
      ['container', 'c1', 'node1'],
      ['container', 'c2', 'node2'],
      ['image', image, 'node1'],
      ['image', image, 'node2'],
    ]);
    expect(await getVolumes(world.ctx, 'data', { ...scope, projects: ['other'] })).toEqual([]);
    expect(await getVolume(world.ctx, 'data', 'c1', { ...scope, type: 'container' })).toMatchObject({
      used_by: ['/1.0/instances/c1'],
      content_type: 'filesystem',
      project: 'default',
    });
    expect((await refusalOf(getVolume(world.ctx, 'data', image, { ...scope, type: 'image' }))).message).toBe(
      `More than one cluster member has a volume named "${image}". Please target a specific member`,
    );
    expect((await refusalOf(getVolume(world.ctx, 'data', 'nope', scope))).message).toBe('Storage volume not found');
    expect((await refusalOf(getVolumes(world.ctx, 'nope', scope))).message).toBe('Storage pool not found');
  });
});
