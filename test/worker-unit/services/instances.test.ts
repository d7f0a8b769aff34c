import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  InstanceExecPost,
  InstancePatch,
  InstancePost,
  InstancePut,
  InstanceStatePut,
  InstancesPost,
} from '#protocol/api/instance.ts';
import { AppError } from '#protocol/errors.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { execInstance } from '#worker/services/instance-exec.ts';
import { getPlacement } from '#worker/services/instance-placement.ts';
import { changeAllStates, changeState, deleteInstance, renameInstance } from '#worker/services/instance-state.ts';
import { patchInstance, putInstance } from '#worker/services/instance-update.ts';
import { getApiInstance, getInstanceState, listApiInstances } from '#worker/services/instances.ts';
import { commands, images, instances, operations, profiles, projects } from '#worker/state/schema.ts';
import { FINGERPRINT, openWorld, type World } from './instance-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const body = (change: Record<string, unknown> = {}) =>
  InstancesPost.parse({ name: 'c1', source: { type: 'image', alias: 'bb' }, ...change });
const create = (change: Record<string, unknown> = {}, more: { project?: string; target?: string } = {}) =>
  createInstance(world.ctx, { project: more.project ?? 'default', target: more.target ?? null, body: body(change) });
const row = async (name = 'c1') => {
  const [found] = await world.db.select().from(instances).where(eq(instances.name, name));
  if (!found) throw new Error(`no instance ${name}`);
  return found;
};
const set = (values: Partial<typeof instances.$inferInsert>, name = 'c1') =>
  world.db.update(instances).set(values).where(eq(instances.name, name));
const refusal = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => new Error('was not refused'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw error;
  return { status: error.status, message: error.message };
};
const request = (name = 'c1') => ({ project: 'default', name, precondition: async () => {} });
const confine = () => {
  world.ctx = { ...world.ctx, principal: { ...world.ctx.principal, projects: ['default'] } };
};

describe('creating', () => {
  it.each(['limits.instances', 'limits.containers'])(
    'keeps to %s of the project, also at the same moment',
    async (key) => {
      await world.db
        .update(projects)
        .set({ config: { [key]: '2' } })
        .where(eq(projects.name, 'default'));
      const names = ['one', 'two', 'three', 'four'];
      const ended = await Promise.allSettled(names.map((name) => create({ name })));
      expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
      const reached = { status: 403, message: 'Reached maximum number of instances in project "default"' };
      for (const one of ended) if (one.status === 'rejected') expect(one.reason).toMatchObject(reached);
      expect(await refusal(create({ name: 'five' }))).toEqual(reached);
      expect(await world.db.select().from(instances)).toHaveLength(2);
      expect(await world.db.select().from(operations)).toHaveLength(2);
      await world.db
        .delete(instances)
        .where(eq(instances.name, (await world.db.select().from(instances))[0]?.name ?? ''));
      await create({ name: 'five' });
    },
  );

  it('writes instance, operation and command, delivers, and ends the reservation', async () => {
    const operation = await create({
      start: true,
      instance_type: 'c2-m4',
      config: { 'limits.cpu': 3, 'user.a': true },
    });
    expect(operation).toMatchObject({
      class: 'task',
      description: 'Creating instance',
      status_code: 103,
      may_cancel: true,
      location: 'node1',
      resources: { instances: ['/1.0/instances/c1'], containers: ['/1.0/containers/c1'] },
    });
    const written = await row();
    expect(written).toMatchObject({
      member: 'node1',
      pool: 'local',
      status: 'Stopped',
      memoryBytes: 4 * 2 ** 30,
      profiles: ['default'],
    });
    expect(written.config).toMatchObject({
      'limits.cpu': '3',
      'limits.memory': '4GiB',
      'user.a': 'true',
      'image.os': 'Busybox',
      'volatile.base_image': FINGERPRINT,
      'volatile.eth0.hwaddr': expect.stringMatching(/^00:16:3e(:[0-9a-f]{2}){3}$/),
      'volatile.uuid': expect.any(String),
      'volatile.cloud-init.instance-id': expect.any(String),
    });
    expect(world.asked.placed).toEqual([
      expect.objectContaining({
        instanceId: written.id,
        pool: 'local',
        networks: ['br0'],
        imageFingerprint: FINGERPRINT,
        memoryBytes: 4 * 2 ** 30,
      }),
    ]);
    expect(world.asked.settled).toEqual([written.id]);
    const [delivered] = world.asked.delivered;
    expect(delivered).toMatchObject({
      member: 'node1',
      command: {
        name: 'instance.create',
        params: {
          start: true,
          pool: { name: 'local', driver: 'zfs', config: { a: '1', source: 'tank/node1' } },
          networks: [{ name: 'br0', config: { 'ipv4.address': '10.0.0.1/24' } }],
          image: { fingerprint: FINGERPRINT, parts: [{ name: 'unified', sizeBytes: 10 }] },
          spec: { id: written.id, expandedConfig: { 'limits.cpu': '3' }, expandedDevices: { root: { pool: 'local' } } },
        },
      },
    });
  });

  it('needs one read and one write of the database', async () => {
    world.roundTrips();
    await create();
    expect(world.roundTrips()).toBe(2);
  });

  it('makes up a name of two words', async () => {
    const operation = await create({ name: '' });
    expect(operation.resources?.instances?.[0]).toMatch(/^\/1\.0\/instances\/[a-z]+-[a-z]+$/);
  });

  it.each([
    [{ fingerprint: FINGERPRINT.slice(0, 12) }],
    [{ alias: 'bb', type: '' }],
    [{ properties: { os: 'Busybox', release: '1.35' } }],
  ])('finds its image by %j', async (source) => {
    await create({ source: { type: 'image', ...source } });
    expect((await row()).config['volatile.base_image']).toBe(FINGERPRINT);
  });

  it('makes an empty instance, of the architecture of a member that is there', async () => {
    await create({ source: { type: 'none' } });
    expect(world.asked.delivered[0]?.command.params).toMatchObject({ image: null, spec: { architecture: 'x86_64' } });
  });

  it('takes null profiles for the default one and [] for none', async () => {
    await create({ profiles: [], devices: { root: { type: 'disk', path: '/', pool: 'local' } } });
    expect((await row()).profiles).toEqual([]);
  });

  it('takes the profiles of the image for those it is not told', async () => {
    await world.db
      .insert(profiles)
      .values({ project: 'default', name: 'web', config: { 'user.web': '1' }, devices: {} });
    await world.db.update(images).set({ profiles: ['default', 'web'] });
    await create();
    await create({ name: 'c2', profiles: ['default'] });
    expect([(await row()).profiles, (await row('c2')).profiles]).toEqual([['default', 'web'], ['default']]);
    await world.db.update(images).set({ profiles: ['gone'] });
    expect(await refusal(create({ name: 'c3' }))).toMatchObject({ message: 'Requested profile "gone" doesn\'t exist' });
  });

  it("uses the default project's profiles and images where the project has none", async () => {
    const operation = await create({}, { project: 'shared' });
    expect(operation.resources?.instances).toEqual(['/1.0/instances/c1?project=shared']);
    expect((await getApiInstance(world.ctx, 'shared', 'c1', false)).instance.expanded_config['limits.cpu']).toBe('1');
  });

  const root = { root: { type: 'disk', path: '/', pool: 'local' } };
  it.each<[string, Record<string, unknown>, number, string | RegExp]>([
    ['a bad name', { name: '1a' }, 400, 'Invalid instance name: Name must not start with a number'],
    [
      'an underscore',
      { name: 'a_b' },
      400,
      'Invalid instance name: Name can only contain alphanumeric and hyphen characters',
    ],
    ['a virtual machine', { type: 'virtual-machine' }, 400, /Virtual machines are not supported/],
    ['an unknown type', { type: 'jail' }, 400, /Invalid instance type "jail"/],
    ['an unknown instance type', { instance_type: 't2.micro' }, 400, /doesn't exist/],
    ['an unknown profile', { profiles: ['nope'] }, 500, 'Requested profile "nope" doesn\'t exist'],
    ['a profile named twice', { profiles: ['default', 'default'] }, 400, /Duplicate profile/],
    ['an unknown key', { config: { 'nope.key': '1' } }, 400, /^Failed creating instance record: Unknown configuration/],
    ['a bad value', { config: { 'limits.memory': 'abc' } }, 400, 'Failed creating instance record: Invalid value: abc'],
    ['a bad device', { devices: { x: { type: 'gpu' } } }, 400, /^Failed .* instance: Invalid devices: .*not supported/],
    ['no root disk', { profiles: [] }, 400, /No root device could be found/],
    ['an unknown pool', { devices: { root: { ...root.root, pool: 'nope' } } }, 404, /Storage pool not found$/],
    ['an unknown network', { devices: { eth1: { type: 'nic', network: 'nope' } } }, 400, /Network not found$/],
    ['an unknown image', { source: { type: 'image', alias: 'nope' } }, 404, 'Image not found'],
    ['a fingerprint that is a path', { source: { type: 'image', fingerprint: '../x' } }, 404, 'Image not found'],
    ['an image of nothing', { source: { type: 'image' } }, 400, /Must specify one of/],
    ['a copy', { source: { type: 'copy', source: 'c0' } }, 400, /by copy is not supported/],
    ['a migration', { source: { type: 'migration' } }, 400, /by migration is not supported/],
    ['an unknown source', { source: { type: 'teleport' } }, 400, /Unknown source type/],
    ['an image server', { source: { type: 'image', alias: 'x', server: 'https://i.example' } }, 400, /not supported/],
    ['an unknown architecture', { architecture: 'z80' }, 400, "Architecture isn't supported: z80"],
    ['an architecture that the image has not', { architecture: 'arm64' }, 400, /The image is for architecture/],
    ['a config that fits no frame', { config: { 'user.a': 'x'.repeat(600_000) } }, 413, /too large/],
  ])('refuses %s, with nothing reserved or written', async (_what, change, status, message) => {
    const refused = await refusal(create(change));
    expect(refused.status).toBe(status);
    if (typeof message === 'string') expect(refused.message).toBe(message);
    else expect(refused.message).toMatch(message);
    expect(world.asked.placed).toEqual([]);
    expect(await world.db.select().from(instances)).toEqual([]);
    expect(await world.db.select().from(operations)).toEqual([]);
  });

  it("refuses a taken name with LXD's text", async () => {
    await create();
    const refused = await refusal(create());
    expect(refused.status).toBe(409);
    expect(refused.message).toMatch(/This "instances" entry already exists$/);
  });

  it('refuses the second of two at the same time, and both reservations end', async () => {
    const results = await Promise.allSettled([create(), create()]);
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const failed = results.find((result) => result.status === 'rejected');
    expect(failed?.reason).toMatchObject({ code: 'conflict', message: expect.stringMatching(/already exists/) });
    expect(world.asked.settled).toHaveLength(world.asked.placed.length);
  });

  it.each([
    [{ config: { 'raw.lxc': 'lxc.a = b' } }],
    [{ config: { 'security.privileged': 'true' } }],
    [{ devices: { x: { type: 'disk', path: '/x', source: '/etc' } } }],
    [{ devices: { x: { type: 'nic', nictype: 'bridged', parent: 'docker0' } } }],
    [{ profiles: ['default', 'host'] }],
  ])('forbids %j to a caller confined to projects', async (change) => {
    confine();
    expect((await refusal(create(change))).status).toBe(403);
  });

  it.each([
    [{ config: { 'raw.lxc': 'lxc.a = b' } }, '"raw.lxc"'],
    [{ config: { 'security.syscalls.intercept.mknod': 'true' } }, '"security.syscalls.intercept.mknod"'],
    [{ devices: { eth0: { type: 'nic', network: 'br0', 'limits.ingress': '10Mbit' } } }, '"limits.ingress"'],
  ])('refuses %j rather than to store what has no effect', async (change, named) => {
    const refused = await refusal(create(change));
    expect(refused.status).toBe(400);
    expect(refused.message).toContain(`${named} is not supported in this version`);
  });

  it('takes an unsupported key that asks for nothing', async () => {
    await create({ config: { 'security.syscalls.intercept.mknod': 'false', 'security.devlxd': '0' } });
  });

  it('explains the placement', async () => {
    await create();
    expect(await getPlacement(world.ctx, 'default', 'c1')).toEqual({
      instance: 'c1',
      member: 'node1',
      location: 'node1',
      target: '',
      strategy: 'spread',
      scores: [{ member: 'node1', score: 1, parts: { cpu: 1, failure_domain: 0 } }],
      rejections: [],
      decided_at: expect.any(String),
    });
  });
});

describe('looking', () => {
  beforeEach(async () => {
    await create();
    await create({ name: 'c2' }, { target: 'node2' });
    await create({ name: 'c3' }, { project: 'shared' });
  });
  const list = (change: Partial<Parameters<typeof listApiInstances>[1]> = {}) =>
    listApiInstances(world.ctx, { projects: ['default'], recursion: 0, filter: '', prefix: 'instances', ...change });

  it('lists in one round trip', async () => {
    world.roundTrips();
    await list({ recursion: 2 });
    expect(world.roundTrips()).toBe(1);
  });

  it("lists URLs under the prefix asked for, with other projects' names", async () => {
    expect(await list()).toEqual(['/1.0/instances/c1', '/1.0/instances/c2']);
    expect(await list({ projects: null, prefix: 'containers' })).toContain('/1.0/containers/c3?project=shared');
  });

  it('filters on what is shown, whatever the recursion', async () => {
    expect(await list({ filter: 'name eq c1' })).toEqual(['/1.0/instances/c1']);
    expect(await list({ filter: 'state.status eq error' })).toEqual(['/1.0/instances/c2']);
    const [only] = await list({ filter: 'location eq node1', recursion: 1 });
    expect(only).toMatchObject({ name: 'c1' });
    expect(only).not.toHaveProperty('state');
  });

  it('shows instances of members that are away as Error, with their last state', async () => {
    await set(
      {
        status: 'Running',
        state: {
          pid: 7,
          processes: 3,
          cpuUsageNs: 1,
          memory: { usage: 1, usagePeak: 1, swapUsage: 0, swapUsagePeak: 0 },
          disk: {},
          network: null,
        },
      },
      'c2',
    );
    const found = await list({ recursion: 2, filter: 'name eq c2' });
    expect(found).toEqual([
      expect.objectContaining({
        status: 'Error',
        status_code: 112,
        state: expect.objectContaining({ status: 'Error', pid: 7 }),
      }),
    ]);
  });

  it('answers the reported state when the member does not answer', async () => {
    await set({ status: 'Running' });
    expect(await getInstanceState(world.ctx, 'default', 'c1')).toMatchObject({ status: 'Running', status_code: 103 });
  });

  it('answers the live state when it does', async () => {
    world.objects.links.query = (async () => ({
      project: 'default',
      name: 'c1',
      status: 'Frozen',
      state: null,
    })) as never;
    expect(await getInstanceState(world.ctx, 'default', 'c1')).toMatchObject({ status: 'Frozen', status_code: 110 });
  });

  it('does not find what is not there, or in another project', async () => {
    expect(await refusal(getApiInstance(world.ctx, 'default', 'nope', true))).toEqual({
      status: 404,
      message: 'Instance not found',
    });
    expect((await refusal(getApiInstance(world.ctx, 'shared', 'c1', true))).status).toBe(404);
  });
});

describe('changing', () => {
  beforeEach(async () => {
    await create();
    world.asked.delivered.length = 0;
  });
  const put = async (change: Record<string, unknown>) => {
    const { instance } = await getApiInstance(world.ctx, 'default', 'c1', false);
    return putInstance(world.ctx, request(), InstancePut.parse({ ...instance, ...change }));
  };

  it('replaces the config, tells the member, and keeps what only the server knows', async () => {
    const before = await row();
    await put({ config: { 'user.x': 'y' }, description: 'new' });
    const after = await row();
    expect(after.description).toBe('new');
    expect(after.config).toMatchObject({ 'user.x': 'y', 'volatile.uuid': before.config['volatile.uuid'] });
    expect(after.config).not.toHaveProperty(['image.os']);
    expect(after.config['volatile.eth0.hwaddr']).toMatch(/^00:16:3e/);
    expect(world.asked.delivered[0]?.command).toMatchObject({
      name: 'instance.update',
      params: { spec: { config: after.config } },
    });
  });

  it('keeps a volatile key that a result wrote between read and write', async () => {
    const { instance } = await getApiInstance(world.ctx, 'default', 'c1', false);
    const current = await row();
    const late = {
      ...request(),
      precondition: async () => void (await set({ config: { ...current.config, 'volatile.eth0.host_name': 'veth1' } })),
    };
    await putInstance(
      world.ctx,
      late,
      InstancePut.parse({ ...instance, config: { ...instance.config, 'user.x': 'y' } }),
    );
    expect((await row()).config).toMatchObject({ 'user.x': 'y', 'volatile.eth0.host_name': 'veth1' });
  });

  it('merges a PATCH', async () => {
    await patchInstance(
      world.ctx,
      request(),
      InstancePatch.parse({ config: { 'user.x': 'y', 'image.os': '' }, devices: { d: { type: 'none' } } }),
    );
    const after = await row();
    expect(after.config).toMatchObject({ 'user.x': 'y', 'image.release': '1.35' });
    expect(after.config).not.toHaveProperty(['image.os']);
    expect(after).toMatchObject({ profiles: ['default'], devices: { d: { type: 'none' } } });
  });

  it('changes the row and lets the command wait while the member is away', async () => {
    await set({ member: 'node2' });
    const operation = await put({ config: { 'user.x': 'y' } });
    expect(operation).toMatchObject({ status_code: 200, status: 'Success' });
    expect((await row()).config['user.x']).toBe('y');
    const waiting = await world.db.select().from(commands).where(eq(commands.member, 'node2'));
    expect(waiting).toMatchObject([{ name: 'instance.update', status: 'waiting', operationId: null }]);
  });

  it('gives cloud-init a new instance id with new user data only', async () => {
    const id = async () => (await row()).config['volatile.cloud-init.instance-id'];
    const first = await id();
    await put({ config: { 'user.x': 'y' } });
    expect(await id()).toBe(first);
    await put({ config: { 'cloud-init.user-data': '#cloud-config\n' } });
    expect(await id()).not.toBe(first);
  });

  it.each<[string, Record<string, unknown>, number, string | RegExp]>([
    ['an unknown key', { config: { 'nope.key': '1' } }, 400, 'Invalid config: Unknown configuration key: nope.key'],
    ['a bad value', { config: { 'limits.memory': 'abc' } }, 400, 'Invalid config: Invalid value: abc'],
    ['an unknown profile', { profiles: ['nope'] }, 404, 'Profile not found'],
    ['a lost root disk', { profiles: [] }, 400, /No root device could be found/],
    ['another architecture', { architecture: 'aarch64' }, 400, /architecture/],
    ['a snapshot to restore', { restore: 'c1/s0' }, 501, /not supported/],
    ['an unknown network', { devices: { e: { type: 'nic', network: 'nope' } } }, 400, /Network not found$/],
  ])('refuses %s and leaves the row as it is', async (_what, change, status, message) => {
    const before = await row();
    const refused = await refusal(put(change));
    expect(refused.status).toBe(status);
    expect(refused.message).toMatch(message);
    expect(await row()).toEqual(before);
  });

  it('unsets a device option by an empty value', async () => {
    await put({ devices: { eth0: { type: 'nic', network: 'br0', name: 'eth1', hwaddr: '' } } });
    expect((await row())?.devices).toEqual({ eth0: { type: 'nic', network: 'br0', name: 'eth1' } });
  });

  it('refuses to move the root disk to another pool', async () => {
    await set({ pool: 'elsewhere' });
    expect((await refusal(put({ config: {} }))).message).toMatch(/^Cannot update root disk device pool name to/);
  });

  it('lets a confined caller change other keys of an instance with raw.lxc, not that one', async () => {
    const { config } = await row();
    await set({ config: { ...config, 'raw.lxc': 'lxc.a = b' } });
    confine();
    await put({ config: { ...config, 'raw.lxc': 'lxc.a = b', 'user.x': 'y' } });
    expect((await refusal(put({ config: { 'raw.lxc': 'lxc.a = c' } }))).status).toBe(403);
  });

  it('asks the precondition with the parts that an ETag covers', async () => {
    const seen: unknown[] = [];
    const { instance, parts } = await getApiInstance(world.ctx, 'default', 'c1', false);
    const precondition = async (current: unknown) => void seen.push(current);
    await putInstance(world.ctx, { ...request(), precondition }, InstancePut.parse(instance));
    expect(seen).toEqual([parts]);
  });
});

describe('state', () => {
  beforeEach(async () => {
    await create();
    world.asked.delivered.length = 0;
  });
  const state = (action: string, more: Record<string, unknown> = {}) =>
    changeState(world.ctx, 'default', 'c1', InstanceStatePut.parse({ action, ...more }));

  it.each([
    ['start', 'Stopped', 'Starting instance'],
    ['stop', 'Running', 'Stopping instance'],
    ['stop', 'Frozen', 'Stopping instance'],
    ['restart', 'Running', 'Restarting instance'],
    ['freeze', 'Running', 'Freezing instance'],
    ['unfreeze', 'Frozen', 'Unfreezing instance'],
  ] as const)('%s of an instance that is %s: "%s"', async (action, status, description) => {
    await set({ status });
    const operation = await state(action, { timeout: 5, force: true });
    expect(operation).toMatchObject({ description, resources: { instances: ['/1.0/instances/c1'] } });
    expect(world.asked.delivered[0]?.command).toMatchObject({
      name: 'instance.state',
      params: { action, timeoutSeconds: 5, force: true },
    });
  });

  it.each([
    ['start', 'Running', 'The instance is already running'],
    ['start', 'Frozen', 'The instance is already running'],
    ['stop', 'Stopped', 'The instance is already stopped'],
    ['restart', 'Stopped', 'The instance is already stopped'],
    ['freeze', 'Stopped', "The container isn't running"],
    ['freeze', 'Frozen', 'The container is already frozen'],
    ['unfreeze', 'Stopped', "The container isn't running"],
    ['unfreeze', 'Running', 'The container is already running'],
    ['explode', 'Running', "Unknown action: 'explode'"],
  ] as const)('refuses %s of an instance that is %s', async (action, status, message) => {
    await set({ status });
    expect(await refusal(state(action))).toEqual({ status: 400, message });
  });

  it('writes nothing while the member is away, for state, rename and delete', async () => {
    await set({ member: 'node2' });
    const before = await world.db.select().from(operations);
    const away = { status: 503, message: 'Cluster member "node2" is offline' };
    expect(await refusal(state('start'))).toEqual(away);
    expect(
      await refusal(renameInstance(world.ctx, { project: 'default', name: 'c1' }, InstancePost.parse({ name: 'c9' }))),
    ).toEqual(away);
    expect(await refusal(deleteInstance(world.ctx, 'default', 'c1'))).toEqual(away);
    expect(await world.db.select().from(operations)).toEqual(before);
  });

  it('acts on all that are not in that state, and names those that cannot be reached', async () => {
    await create({ name: 'c2' }, { target: 'node2' });
    await create({ name: 'c3' });
    await set({ status: 'Running' }, 'c3');
    world.asked.delivered.length = 0;
    const operation = await changeAllStates(world.ctx, 'default', InstanceStatePut.parse({ action: 'start' }));
    expect(operation).toMatchObject({
      resources: { instances: ['/1.0/instances/c1'] },
      metadata: { unreachable: ['c2'] },
    });
    expect(world.asked.delivered).toMatchObject([{ member: 'node1', command: { params: { spec: { name: 'c1' } } } }]);
  });

  it('is done at once when there is nothing to do', async () => {
    const operation = await changeAllStates(world.ctx, 'default', InstanceStatePut.parse({ action: 'stop' }));
    expect(operation.status_code).toBe(200);
  });
});

describe('renaming and deleting', () => {
  beforeEach(async () => {
    await create();
    world.asked.delivered.length = 0;
  });
  const rename = (change: Record<string, unknown>) =>
    renameInstance(world.ctx, { project: 'default', name: 'c1' }, InstancePost.parse(change));

  it('asks the member to rename', async () => {
    expect(await rename({ name: 'c9' })).toMatchObject({ description: 'Renaming instance' });
    expect(world.asked.delivered[0]?.command).toMatchObject({ name: 'instance.rename', params: { newName: 'c9' } });
  });

  it('refuses bad and taken names, and instances that run or are on their way', async () => {
    await create({ name: 'c2' });
    expect((await refusal(rename({ name: 'bad_name' }))).message).toMatch(/^Invalid instance name/);
    expect((await refusal(rename({ name: 'c2' }))).status).toBe(409);
    await set({ status: 'Running' });
    expect((await refusal(rename({ name: 'c9' }))).message).toBe('Renaming of running container not allowed');
    await set({ status: 'Stopped', movingTo: 'node2' });
    expect((await refusal(rename({ name: 'c9' }))).message).toBe('Instance is busy running a "migrate" operation');
  });

  it('deletes by a command with the pool as the member has it', async () => {
    expect(await deleteInstance(world.ctx, 'default', 'c1')).toMatchObject({ description: 'Deleting instance' });
    expect(world.asked.delivered[0]?.command).toMatchObject({
      name: 'instance.delete',
      params: { ref: { project: 'default', name: 'c1' }, pool: { config: { source: 'tank/node1' } } },
    });
  });

  it('refuses to delete what runs or is protected, by a profile too', async () => {
    await set({ status: 'Running' });
    expect(await refusal(deleteInstance(world.ctx, 'default', 'c1'))).toEqual({
      status: 400,
      message: 'Instance is running',
    });
    await set({ status: 'Stopped' });
    await world.db
      .update(profiles)
      .set({ config: { 'security.protection.delete': 'true' } })
      .where(eq(profiles.name, 'default'));
    expect(await refusal(deleteInstance(world.ctx, 'default', 'c1'))).toEqual({
      status: 400,
      message: 'Container is protected',
    });
  });
});

describe('exec', () => {
  beforeEach(async () => {
    await create({ config: { 'environment.A': 'a', 'environment.B': 'b' } });
    await set({ status: 'Running' });
    world.asked.delivered.length = 0;
  });
  const exec = (change: Record<string, unknown> = {}) =>
    execInstance(
      world.ctx,
      'default',
      'c1',
      InstanceExecPost.parse({ command: ['id'], 'wait-for-websocket': true, ...change }),
    );

  it('opens a stream that knows only hashes of the secrets it shows', async () => {
    const operation = await exec({ environment: { TERM: 'xterm', B: 'mine' } });
    expect(operation).toMatchObject({
      class: 'websocket',
      metadata: {
        command: ['id'],
        interactive: false,
        environment: { HOME: '/root', USER: 'root', LANG: 'C.UTF-8', TERM: 'xterm', A: 'a', B: 'mine' },
      },
    });
    const fds = operation.metadata?.fds as Record<string, string>;
    expect(Object.keys(fds)).toEqual(['0', '1', '2', 'control']);
    const [opening] = world.asked.opened;
    expect(opening).toMatchObject({ id: operation.id, member: 'node1', kind: 'exec', interactive: false });
    for (const [fd, secret] of Object.entries(fds)) {
      expect(secret).toMatch(/^[0-9a-f]{64}$/);
      expect(opening?.fds[fd]).toBe(await sha256Hex(secret));
    }
    expect(world.asked.delivered[0]?.command).toMatchObject({
      name: 'instance.exec',
      params: { streamId: operation.id, attach: true, cwd: '/root', user: 0 },
    });
    expect(JSON.stringify(world.asked.delivered)).not.toContain(fds['0']);
  });

  it('needs one read and one write of the database', async () => {
    world.roundTrips();
    await exec();
    expect(world.roundTrips()).toBe(2);
  });

  it('has two sockets for a terminal, and none without wait-for-websocket', async () => {
    const terminal = await exec({ interactive: true, width: 80, height: 24 });
    expect(Object.keys(terminal.metadata?.fds as object)).toEqual(['0', 'control']);
    world.asked.opened.length = 0;
    const task = await exec({ 'wait-for-websocket': false });
    expect(task).toMatchObject({ class: 'task' });
    expect(task.metadata).not.toHaveProperty('fds');
    expect(world.asked.opened).toEqual([]);
  });

  it('sets HOME and USER for root only', async () => {
    const operation = await exec({ user: 1000, cwd: '/tmp' });
    expect(operation.metadata?.environment).not.toHaveProperty('HOME');
    expect(world.asked.delivered[0]?.command.params).toMatchObject({ user: 1000, cwd: '/tmp' });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['no command', { command: [] }, /No command/],
    ['recorded output', { 'record-output': true }, /not supported/],
    ['NUL in an argument', { command: ['a\0b'] }, /NUL/],
    ['a variable name with =', { environment: { 'A=B': 'x' } }, /environment variable name/],
    ['a negative user', { user: -5 }, /Invalid user/],
    ['a group beyond 32 bits', { group: 2 ** 32 }, /Invalid user or group/],
    ['a relative directory', { cwd: 'tmp' }, /absolute/],
    ['a huge terminal', { width: 100_000 }, /terminal size/],
    ['a huge command', { command: ['x'.repeat(300_000)] }, /too long/],
  ])('refuses %s', async (_what, change, message) => {
    expect(await refusal(exec(change))).toMatchObject({ status: 400, message: expect.stringMatching(message) });
    expect(world.asked.opened).toEqual([]);
  });

  it('refuses an instance that is stopped or frozen, or whose member is away', async () => {
    await set({ status: 'Stopped' });
    expect(await refusal(exec())).toEqual({ status: 400, message: 'Instance is not running' });
    await set({ status: 'Frozen' });
    expect(await refusal(exec())).toEqual({ status: 400, message: 'Instance is frozen' });
    await set({ status: 'Running', member: 'node2' });
    expect((await refusal(exec())).status).toBe(503);
  });
});
