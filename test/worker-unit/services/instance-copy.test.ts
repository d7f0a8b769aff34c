import { eq } from 'drizzle-orm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InstancesPost } from '#protocol/api/instance.ts';
import { AppError } from '#protocol/errors.ts';
import { readCopy } from '#worker/services/instance-copy.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { instances, members } from '#worker/state/schema.ts';
import { openWorld, type World } from './instance-world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld();
  await world.db.update(members).set({ online: true });
  await world.db.insert(instances).values({
    id: 'source',
    project: 'default',
    name: 'c1',
    type: 'container',
    member: 'node1',
    architecture: 'x86_64',
    profiles: ['default'],
    config: {
      'user.a': '1',
      'image.os': 'Busybox',
      'volatile.base_image': 'ff',
      'volatile.uuid': '96e03bd0-1653-4e68-b2f8-7ef52b8a3194',
      'volatile.eth0.hwaddr': '00:16:3e:dc:d3:b3',
      'volatile.evacuate.origin': 'node2',
    },
    devices: { root: { type: 'disk', path: '/', pool: 'local' } },
    pool: 'local',
    status: 'Running',
    createdAt: '2026-11-21T02:46:07.090Z',
  });
});
afterEach(() => world.close());

const copy = async (target: string | null, body: Record<string, unknown> = {}) => {
  const request = { name: 'c2', source: { type: 'copy', source: 'c1' }, ...body };
  return createInstance(
    world.ctx,
    await readCopy(world.ctx, { project: 'default', target, body: InstancesPost.parse(request) }),
  );
};
const refusal = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw new Error('was not refused');
  return { status: error.status, message: error.message };
};
const delivered = () => world.asked.delivered.map(({ member, command }) => [member, command.name]);

describe('copying', () => {
  it('on one member makes the volume there, with config that is the copy’s own', async () => {
    expect(await copy('node1')).toMatchObject({ description: 'Creating instance' });
    expect(delivered()).toEqual([['node1', 'instance.create']]);
    expect(world.asked.delivered[0]?.command.params).toMatchObject({
      image: null,
      copyOf: { project: 'default', name: 'c1' },
    });
    const [made] = await world.db.select().from(instances).where(eq(instances.name, 'c2'));
    expect(made?.config).toMatchObject({ 'user.a': '1', 'image.os': 'Busybox', 'volatile.base_image': 'ff' });
    for (const key of ['volatile.uuid', 'volatile.eth0.hwaddr', 'volatile.evacuate.origin']) {
      expect(made?.config[key]).not.toBe((await source())?.config[key]);
    }
    expect(made).toMatchObject({ member: 'node1', profiles: ['default'] });
  });

  it('to another member has the source send it, running or not', async () => {
    await copy('node2', { config: { 'user.a': '2' } });
    expect(delivered().sort()).toEqual([
      ['node1', 'instance.send'],
      ['node2', 'instance.create'],
    ]);
    const [create, send] = ['instance.create', 'instance.send'].map(
      (name) => world.asked.delivered.find(({ command }) => command.name === name)?.command.params,
    );
    expect(create).toMatchObject({ from: 'node1', spec: { name: 'c2', config: { 'user.a': '2' } } });
    expect(send).toMatchObject({ to: 'node2', stop: null, copy: true, spec: { name: 'c1' } });
  });

  it('refuses what it cannot copy, and leaves nothing', async () => {
    expect(await refusal(copy(null, { source: { type: 'copy', source: 'nobody' } }))).toMatchObject({ status: 404 });
    expect(await refusal(copy(null, { source: { type: 'copy', source: 'c1/s0' } }))).toMatchObject({ status: 400 });
    expect(await refusal(copy(null, { name: 'c1' }))).toMatchObject({ status: 409 });
    await world.db.update(members).set({ online: false }).where(eq(members.name, 'node1'));
    expect(await refusal(copy(null))).toMatchObject({ status: 503 });
    expect(await world.db.select().from(instances)).toHaveLength(1);
  });
});

const source = async () => (await world.db.select().from(instances).where(eq(instances.name, 'c1')))[0];
