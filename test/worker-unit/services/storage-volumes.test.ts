import { sql } from 'drizzle-orm';
import { beforeEach, describe, expect, it } from 'vitest';
import { StoragePoolsPost } from '#protocol/api/storage-pool.ts';
import { StorageVolumePost, StorageVolumesPost } from '#protocol/api/storage-volume.ts';
import type { InstanceSpec } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { checkVolumesOn, memberOfVolumes } from '#worker/services/instance-volumes.ts';
import { nameVolumeProjects } from '#worker/services/project-volumes.ts';
import { createPool } from '#worker/services/storage-pool-create.ts';
import { getPool, removePool } from '#worker/services/storage-pools.ts';
import {
  changeVolume,
  createVolume,
  deleteVolume,
  renameVolume,
  type VolumeChange,
} from '#worker/services/storage-volume-change.ts';
import { getVolume, getVolumeState, getVolumes } from '#worker/services/storage-volumes.ts';
import { profiles, projects } from '#worker/state/schema.ts';
import { addInstance } from '../state/helpers.ts';
import { openWorld, refusalOf, type World } from './resource-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
  await createPool(
    world.ctx,
    StoragePoolsPost.parse({
      name: 'data',
      driver: 'zfs',
      config: { 'volume.size': '1GiB', 'volume.zfs.blocksize': '8KiB' },
    }),
    null,
  );
  world.ran.length = 0;
});

const at = (name: string, target: string | null = null) => ({
  pool: 'data',
  project: 'default',
  type: 'custom',
  name,
  target,
});
const create = (change: Record<string, unknown> = {}, target: string | null = null) =>
  createVolume(world.ctx, { ...at('', target) }, StorageVolumesPost.parse({ name: 'web', type: 'custom', ...change }));
const scope = (target: string | null = null) => ({ projects: ['default'], target, type: 'custom' });
const get = (name: string, target: string | null = null) => getVolume(world.ctx, 'data', name, scope(target));
const change = (name: string, more: Partial<VolumeChange>, target: string | null = null) =>
  changeVolume(world.ctx, at(name, target), { description: undefined, config: {}, merge: true, restore: '', ...more });
const rename = (name: string, newName: string, more: Record<string, unknown> = {}) =>
  renameVolume(world.ctx, at(name), StorageVolumePost.parse({ name: newName, ...more }));
const disk = (source: string) => ({ data: { type: 'disk', path: '/data', pool: 'data', source } });
const volumeActions = () => world.actions().filter((action) => action.startsWith('storage-volume'));

describe('creating a custom volume', () => {
  it('takes the pool’s defaults and the first member that has the pool', async () => {
    await create({ description: 'd' });
    expect(await get('web')).toMatchObject({
      config: { size: '1GiB' },
      description: 'd',
      name: 'web',
      type: 'custom',
      used_by: [],
      location: 'node1',
      content_type: 'filesystem',
      project: 'default',
    });
    expect(world.ran.map(({ member, command }) => `${member} ${command.name}`)).toEqual(['node1 volume.create']);
    expect(volumeActions()).toEqual(['storage-volume-created']);
  });

  it('gives two members one of the same name each, told apart by the target', async () => {
    await create();
    await create({ config: { size: '2GiB' } }, 'node2');
    expect((await getVolumes(world.ctx, 'data', scope())).map((volume) => volume.location)).toEqual(['node1', 'node2']);
    expect(await refusalOf(get('web'))).toEqual({
      code: 'failed',
      message: 'More than one cluster member has a volume named "web". Please target a specific member',
    });
    expect((await get('web', 'node2')).config.size).toBe('2GiB');
    expect((await refusalOf(deleteVolume(world.ctx, at('web')))).code).toBe('failed');
    await deleteVolume(world.ctx, at('web', 'node2'));
    expect((await get('web')).location).toBe('node1');
  });

  it.each([
    [{ name: '' }, 'bad_request', 'No name provided'],
    [{ name: 'a/b' }, 'bad_request', 'Storage volume names may not contain slashes'],
    [{ config: { nope: '1' } }, 'bad_request', 'Invalid option "nope"'],
    [{ config: { size: 'big' } }, 'bad_request', 'Invalid value for option "size": Invalid size "big"'],
    [
      { config: { 'security.unmapped': 'true' } },
      'bad_request',
      'Invalid value for option "security.unmapped": Not supported in this version',
    ],
    [
      { content_type: 'block' },
      'bad_request',
      'Volumes of content type "block" are for virtual machines, which are not supported',
    ],
    [
      { source: { type: 'copy', name: 'x', pool: 'data' } },
      'not_implemented',
      'Copying storage volumes is not supported in this version',
    ],
  ] as const)('refuses %j', async (asked, code, message) => {
    expect(await refusalOf(create(asked))).toEqual({ code, message });
    expect(await getVolumes(world.ctx, 'data', scope())).toEqual([]);
    expect(world.ran).toEqual([]);
  });

  it('refuses a taken name, an unknown member and one that is away', async () => {
    await create();
    expect(await refusalOf(create())).toEqual({ code: 'conflict', message: 'Volume by that name already exists' });
    expect((await refusalOf(create({}, 'nope'))).message).toBe('Cluster member not found');
    await world.setOnline('node2', false);
    expect(await refusalOf(create({}, 'node2'))).toEqual({
      code: 'unavailable',
      message: 'Cluster member "node2" is offline',
    });
    await create({ name: 'other' });
  });

  it('leaves nothing when the member fails', async () => {
    const willing = world.agent;
    world.agent = () => {
      throw failed('out of space');
    };
    expect(await refusalOf(create())).toEqual({ code: 'failed', message: 'out of space' });
    expect(await refusalOf(get('web'))).toEqual({ code: 'not_found', message: 'Storage volume not found' });
    world.agent = willing;
    await create();
  });
});

describe('changing a custom volume', () => {
  beforeEach(() => create());

  it('tells the member of a new size only', async () => {
    world.ran.length = 0;
    await change('web', { config: { 'user.a': 'b' } });
    expect(world.ran).toEqual([]);
    await change('web', { config: { size: '3GiB' }, description: 'larger' });
    expect(world.ran).toMatchObject([
      { command: { name: 'volume.update', params: { before: { config: { size: '1GiB' } } } } },
    ]);
    expect(await get('web')).toMatchObject({ config: { size: '3GiB', 'user.a': 'b' }, description: 'larger' });
    await change('web', { config: {}, merge: false });
    expect((await get('web')).config).toEqual({});
    expect(volumeActions().filter((action) => action === 'storage-volume-updated')).toHaveLength(3);
  });

  it('keeps the old config when the member refuses the size', async () => {
    world.agent = () => {
      throw failed('size is less than current used');
    };
    expect((await refusalOf(change('web', { config: { size: '1MiB' } }))).message).toBe(
      'size is less than current used',
    );
    expect((await get('web')).config).toEqual({ size: '1GiB' });
  });

  it('needs the member for a size, not for a description', async () => {
    await world.setOnline('node1', false);
    expect((await refusalOf(change('web', { config: { size: '3GiB' } }))).code).toBe('unavailable');
    await change('web', { description: 'changed' });
    expect(await get('web')).toMatchObject({ config: { size: '1GiB' }, description: 'changed' });
  });
});

describe('renaming and removing a custom volume', () => {
  beforeEach(() => create());

  it('moves the row and tells of it', async () => {
    await rename('web', 'web2');
    expect((await get('web2')).name).toBe('web2');
    expect((await refusalOf(get('web'))).code).toBe('not_found');
    await deleteVolume(world.ctx, at('web2'));
    expect(await getVolumes(world.ctx, 'data', scope())).toEqual([]);
    expect(volumeActions()).toEqual(['storage-volume-created', 'storage-volume-renamed', 'storage-volume-deleted']);
  });

  it('gives the old name back when the member cannot', async () => {
    world.agent = () => {
      throw failed('busy');
    };
    expect((await refusalOf(rename('web', 'web2'))).message).toBe('busy');
    expect((await get('web')).name).toBe('web');
  });

  it('refuses a taken name and a move', async () => {
    await create({ name: 'taken' });
    expect((await refusalOf(rename('web', 'taken'))).message).toBe('Volume by that name already exists');
    expect((await refusalOf(rename('web', 'web2', { pool: 'other' }))).code).toBe('not_implemented');
    expect((await refusalOf(rename('web', 'web2', { migration: true }))).code).toBe('not_implemented');
  });

  it('is refused while an instance or a profile has it; one of another member does not count', async () => {
    await create({}, 'node2');
    await addInstance(world.db, 'c1', { member: 'node1', pool: 'data', devices: disk('web'), status: 'Running' });
    expect((await get('web', 'node1')).used_by).toEqual(['/1.0/instances/c1']);
    expect((await get('web', 'node2')).used_by).toEqual([]);
    await deleteVolume(world.ctx, at('web', 'node2'));
    expect(await refusalOf(deleteVolume(world.ctx, at('web')))).toEqual({
      code: 'bad_request',
      message: 'The storage volume is still in use',
    });
    expect((await refusalOf(rename('web', 'web2'))).message).toBe('Volume is still in use by running instances');
    await world.db.run(sql`delete from instances`);
    await world.db.insert(profiles).values({ project: 'default', name: 'p1', config: {}, devices: disk('web') });
    expect((await get('web')).used_by).toEqual(['/1.0/profiles/p1']);
    await addInstance(world.db, 'c2', { member: 'node1', pool: 'other', profiles: ['p1'] });
    expect((await get('web')).used_by).toEqual(['/1.0/instances/c2', '/1.0/profiles/p1']);
    expect((await refusalOf(deleteVolume(world.ctx, at('web')))).message).toBe('The storage volume is still in use');
  });

  it('keeps its pool', async () => {
    expect((await getPool(world.ctx, 'data', null)).used_by).toEqual([
      '/1.0/storage-pools/data/volumes/custom/web?target=node1',
    ]);
    expect((await refusalOf(removePool(world.ctx, 'data'))).message).toBe('The storage pool is currently in use');
    await deleteVolume(world.ctx, at('web'));
    await removePool(world.ctx, 'data');
  });
});

describe('a custom volume and instances', () => {
  const prefix = 'P: ';
  const missing = 'Failed add validation for device "data": Failed loading custom volume: Storage volume not found';

  it('decides where a new instance goes', async () => {
    await create({}, 'node2');
    const where = (target: string | null) => memberOfVolumes(world.ctx, 'default', disk('web'), target, prefix);
    expect(await where(null)).toBe('node2');
    expect(await where('@all')).toBe('node2');
    expect(await where('node2')).toBe('node2');
    expect(await refusalOf(where('node1'))).toEqual({ code: 'bad_request', message: prefix + missing });
    expect(await memberOfVolumes(world.ctx, 'default', {}, null, prefix)).toBeNull();
    expect((await refusalOf(memberOfVolumes(world.ctx, 'p1', disk('web'), null, prefix))).message).toBe(
      prefix + missing,
    );
  });

  it('is refused to an instance of another member', async () => {
    await create({}, 'node2');
    await checkVolumesOn(world.ctx, 'default', disk('web'), 'node2');
    expect(await refusalOf(checkVolumesOn(world.ctx, 'default', disk('web'), 'node1'))).toEqual({
      code: 'bad_request',
      message: missing,
    });
  });

  it('says how full it is', async () => {
    await create();
    world.query = async () => ({ usedBytes: 5 });
    expect(await getVolumeState(world.ctx, 'data', 'web', scope())).toEqual({ usage: { used: 5, total: 2 ** 30 } });
    world.query = async () => ({ usedBytes: null });
    expect((await refusalOf(getVolumeState(world.ctx, 'data', 'web', scope()))).message).toBe('Not supported');
  });
});

describe('a project without volumes of its own', () => {
  const inProject = (name: string, project: string) => ({ ...at(name), project });
  const lend = async () => {
    for (const [name, own] of [
      ['borrowing', 'false'],
      ['owning', 'true'],
    ] as const)
      await world.db.insert(projects).values({ name, config: { 'features.storage.volumes': own } });
  };
  const namesIn = async (project: string) =>
    (await getVolumes(world.ctx, 'data', { projects: [project], target: null, type: 'custom' })).map(
      ({ name }) => name,
    );

  it('makes and has those of the default project; one with its own has only these', async () => {
    await lend();
    for (const project of ['borrowing', 'owning']) {
      const body = StorageVolumesPost.parse({ name: `of-${project}`, type: 'custom' });
      await createVolume(world.ctx, inProject('', project), body);
    }
    expect(await namesIn('default')).toEqual(['of-borrowing']);
    expect(await namesIn('borrowing')).toEqual(['of-borrowing']);
    expect(await namesIn('owning')).toEqual(['of-owning']);
    await renameVolume(world.ctx, inProject('of-borrowing', 'borrowing'), StorageVolumePost.parse({ name: 'web' }));
    expect(await namesIn('default')).toEqual(['web']);
    await deleteVolume(world.ctx, inProject('web', 'borrowing'));
    expect(await namesIn('default')).toEqual([]);
  });

  it('has them as disks on their member, and they count as used', async () => {
    await lend();
    await create();
    const { location } = await get('web');
    await checkVolumesOn(world.ctx, 'borrowing', disk('web'), location);
    expect((await refusalOf(checkVolumesOn(world.ctx, 'owning', disk('web'), location))).code).toBe('bad_request');
    await addInstance(world.db, 'c1', { project: 'borrowing', member: location, pool: 'data', devices: disk('web') });
    await addInstance(world.db, 'c2', { project: 'owning', member: location, pool: 'data', devices: disk('web') });
    expect((await get('web')).used_by).toEqual(['/1.0/instances/c1?project=borrowing']);
    expect((await refusalOf(deleteVolume(world.ctx, at('web')))).message).toBe('The storage volume is still in use');
  });

  it('tells members whose volumes an instance has, when they are not its own project’s', async () => {
    await lend();
    const command = (project: string): NewCommand => ({
      member: 'node1',
      name: 'instance.rename',
      params: { spec: { ...SPEC, project, expandedDevices: disk('web') }, newName: 'c2' },
    });
    const commands = ['default', 'borrowing', 'owning'].map(command);
    await nameVolumeProjects(world.ctx, commands);
    expect(commands.map(({ params }) => 'spec' in params && params.spec.volumeProject)).toEqual([
      undefined,
      'default',
      undefined,
    ]);
  });

  it('lets a caller confined to it use them, and change none', async () => {
    await lend();
    await create();
    const { principal } = world.ctx;
    world.ctx = { ...world.ctx, principal: { ...principal, projects: ['borrowing'] } };
    expect(await namesIn('borrowing')).toEqual(['web']);
    const denied = { code: 'forbidden', message: 'not authorized' };
    const more = { description: 'x', config: {}, merge: true, restore: '' };
    expect(await refusalOf(changeVolume(world.ctx, inProject('web', 'borrowing'), more))).toMatchObject(denied);
    expect(await refusalOf(deleteVolume(world.ctx, inProject('web', 'borrowing')))).toMatchObject(denied);
    const body = StorageVolumesPost.parse({ name: 'mine', type: 'custom' });
    expect(await refusalOf(createVolume(world.ctx, inProject('', 'borrowing'), body))).toMatchObject(denied);
  });
});

const SPEC: InstanceSpec = {
  project: 'default',
  name: 'c1',
  id: 'id-c1',
  type: 'container',
  architecture: 'x86_64',
  description: '',
  ephemeral: false,
  createdAt: '2026-11-21T00:00:00.000Z',
  profiles: [],
  config: {},
  devices: {},
  expandedConfig: {},
  expandedDevices: {},
};
