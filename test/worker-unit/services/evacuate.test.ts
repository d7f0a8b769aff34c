import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ClusterMemberStatePost } from '#protocol/api/cluster.ts';
import { InstancePost } from '#protocol/api/instance.ts';
import { AppError, unavailable } from '#protocol/errors.ts';
import { setMemberState } from '#worker/services/evacuate.ts';
import { moveInstance } from '#worker/services/instance-move.ts';
import { commands, instances, members } from '#worker/state/schema.ts';
import { openWorld, type World } from './instance-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
  await world.db.update(members).set({ online: true });
  world.objects.cluster.place = async (request) => {
    world.asked.placed.push(request);
    const member = request.target ?? (request.avoid === 'node1' ? 'node2' : 'node1');
    return { member, strategy: 'spread', scores: [], rejections: [] };
  };
});
afterEach(() => world.close());

const ROOT = { root: { type: 'disk', path: '/', pool: 'local' } };
const add = (name: string, fields: Partial<typeof instances.$inferInsert> = {}) =>
  world.db.insert(instances).values({
    id: name,
    project: 'default',
    name,
    type: 'container',
    member: 'node1',
    architecture: 'x86_64',
    profiles: ['default'],
    config: {},
    devices: ROOT,
    pool: 'local',
    status: 'Stopped',
    createdAt: '2026-11-21T02:46:07.090Z',
    ...fields,
  });
const set = (member: string, action: string, mode = '') =>
  setMemberState(world.ctx, member, ClusterMemberStatePost.parse({ action, mode }));
const asked = async () =>
  (await world.db.select().from(commands)).map(({ member, name, params }) => {
    const { action, start, stop, spec } = params as {
      action?: string;
      start?: boolean;
      stop?: object | null;
      spec: { name: string };
    };
    return [member, name, spec.name, action ?? start ?? (stop === null ? 'stopped' : 'stop')];
  });
const row = async (name: string) => (await world.db.select().from(instances).where(eq(instances.name, name)))[0];
const state = async (name: string) => (await world.db.select().from(members).where(eq(members.name, name)))[0]?.state;
const refusal = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw new Error('was not refused');
  return { status: error.status, message: error.message };
};

describe('evacuating', () => {
  it('moves what can move and stops what cannot, all in one operation', async () => {
    await add('runs', { status: 'Running' });
    await add('rests');
    await add('bound', { status: 'Running', profiles: ['default', 'host'] });
    await add('other', { member: 'node2', status: 'Running' });
    const operation = await set('node1', 'evacuate');
    expect(operation).toMatchObject({ description: 'Evacuating cluster member', status: 'Running', location: 'node1' });
    expect((await asked()).sort()).toEqual([
      ['node1', 'instance.send', 'rests', 'stopped'],
      ['node1', 'instance.send', 'runs', 'stop'],
      ['node1', 'instance.state', 'bound', 'stop'],
      ['node2', 'instance.receive', 'rests', false],
      ['node2', 'instance.receive', 'runs', true],
    ]);
    expect(await state('node1')).toBe('Evacuated');
    expect(await row('runs')).toMatchObject({ member: 'node1', movingTo: 'node2' });
    expect((await row('bound'))?.config).toEqual({ 'volatile.evacuate.origin': 'node1' });
    expect(world.asked.placed).toMatchObject([{ avoid: 'node1' }, { avoid: 'node1' }]);
    expect(new Set(world.asked.placed.map(({ instanceId }) => instanceId))).not.toContain('runs');
  });

  it('stops where it is what no member can take', async () => {
    await add('runs', { status: 'Running' });
    world.objects.cluster.place = () => Promise.reject(unavailable('No suitable cluster member'));
    await set('node1', 'evacuate');
    expect(await asked()).toEqual([['node1', 'instance.state', 'runs', 'stop']]);
  });

  it('stops, and says why, what has an address of its own that is none there; the rest goes', async () => {
    const eth0 = { type: 'nic', network: 'br0' };
    await add('fixed', { status: 'Running', devices: { ...ROOT, eth0: { ...eth0, 'ipv4.address': '10.9.0.9' } } });
    await add('fits', { devices: { ...ROOT, eth0: { ...eth0, 'ipv4.address': '10.0.0.9' } } });
    const operation = await set('node1', 'evacuate');
    expect(operation.metadata).toEqual({
      not_moved: { fixed: 'Device IP address "10.9.0.9" not within network "br0" subnet' },
    });
    expect((await asked()).sort()).toEqual([
      ['node1', 'instance.send', 'fits', 'stopped'],
      ['node1', 'instance.state', 'fixed', 'stop'],
      ['node2', 'instance.receive', 'fits', false],
    ]);
    expect((await row('fixed'))?.config).toEqual({ 'volatile.evacuate.origin': 'node1' });
  });

  it('does as the request says, whatever the instance would', async () => {
    await add('runs', { status: 'Running' });
    await set('node1', 'evacuate', 'stop');
    expect(await asked()).toEqual([['node1', 'instance.state', 'runs', 'stop']]);
    expect(await refusal(set('node2', 'evacuate', 'nowhere'))).toMatchObject({ status: 400 });
  });

  it('of a member that is away marks it, and leaves its instances alone', async () => {
    await world.db.update(members).set({ online: false }).where(eq(members.name, 'node1'));
    await add('there', { status: 'Running' });
    expect(await set('node1', 'evacuate')).toMatchObject({ status: 'Success' });
    expect(await asked()).toEqual([]);
    expect(await state('node1')).toBe('Evacuated');
  });

  it('happens once when it is asked twice at the same moment', async () => {
    await add('runs', { status: 'Running' });
    const [first, second] = await Promise.all([set('node1', 'evacuate'), set('node1', 'evacuate')]);
    expect(first.id).not.toBe(second.id);
    expect(await asked()).toHaveLength(2);
  });
});

describe('restoring', () => {
  beforeEach(() => world.db.update(members).set({ state: 'Evacuated' }).where(eq(members.name, 'node1')));
  const origin = { config: { 'volatile.evacuate.origin': 'node1' } };

  it('brings back what went and starts what was stopped', async () => {
    await add('went', { member: 'node2', status: 'Running', ...origin });
    await add('stopped', origin);
    await add('never', { member: 'node2', status: 'Running' });
    expect(await set('node1', 'restore')).toMatchObject({ description: 'Restoring cluster member', status: 'Running' });
    expect((await asked()).sort()).toEqual([
      ['node1', 'instance.receive', 'went', true],
      ['node1', 'instance.state', 'stopped', 'start'],
      ['node2', 'instance.send', 'went', 'stop'],
    ]);
    expect(await state('node1')).toBe('Created');
    expect((await row('stopped'))?.config).toEqual({});
  });

  it('leaves what is on a member that is away, and says so', async () => {
    await world.db.update(members).set({ online: false }).where(eq(members.name, 'node2'));
    await add('went', { member: 'node2', status: 'Running', ...origin });
    expect(await set('node1', 'restore')).toMatchObject({ status: 'Success', metadata: { unreachable: ['went'] } });
    expect(await asked()).toEqual([]);
  });
});

describe('moving', () => {
  const move = (name: string, target: string | null, body: Record<string, unknown> = {}) =>
    moveInstance(
      world.ctx,
      { project: 'default', name, target },
      InstancePost.parse({ name, migration: true, ...body }),
    );

  it('asks both members at once, for the pool and networks as the target has them', async () => {
    await add('c1');
    expect(await move('c1', 'node2')).toMatchObject({ description: 'Migrating instance', status: 'Running' });
    const [receive, send] = await world.db.select().from(commands);
    expect(receive).toMatchObject({
      member: 'node2',
      params: {
        from: 'node1',
        pool: { config: { source: 'tank/node2' } },
        networks: [{ name: 'br0' }],
        start: false,
        evacuates: null,
      },
    });
    expect(send).toMatchObject({ member: 'node1', params: { to: 'node2', stop: null } });
    const streams = [receive, send].map((command) => (command?.params as { streamId: string } | undefined)?.streamId);
    expect(new Set(streams).size).toBe(1);
  });

  it('refuses what LXD refuses, and writes nothing', async () => {
    await add('c1');
    expect(await refusal(move('nobody', 'node2'))).toEqual({ status: 404, message: 'Instance not found' });
    expect(await refusal(move('c1', 'node1'))).toMatchObject({ status: 400 });
    for (const body of [{ pool: 'other' }, { project: 'p' }, { name: 'c2' }]) {
      expect(await refusal(move('c1', 'node2', body))).toMatchObject({ status: 400 });
    }
    await world.db.update(instances).set({ status: 'Running' });
    expect(await refusal(move('c1', 'node2', { live: true }))).toMatchObject({
      message: expect.stringMatching(/live/),
    });
    expect(await refusal(move('c1', 'node2'))).toEqual({
      status: 400,
      message: 'Instance must be stopped to be moved statelessly',
    });
    await world.db.update(instances).set({ status: 'Stopped', movingTo: 'node2' });
    expect(await refusal(move('c1', 'node2'))).toEqual({
      status: 409,
      message: 'Instance is busy running a "migrate" operation',
    });
    expect(await world.db.select().from(commands)).toEqual([]);
  });
});
