import { afterEach, beforeEach, expect, it } from 'vitest';
import type { HostInventory } from '#protocol/backup.ts';
import { AppError } from '#protocol/errors.ts';
import { giveBackup } from '#worker/services/backup.ts';
import { giveInventory, readRecovery, stepRecovery } from '#worker/services/recovery.ts';
import { noteRecovering } from '#worker/state/recovery.ts';
import { instances, members, profiles } from '#worker/state/schema.ts';
import { RESOURCES } from '../state/helpers.ts';
import { openWorld, type World } from './instance-world.ts';

let world: World;
/** What hosts answer when they are asked for all they have; absent: they are away. */
let hosts: Map<string, HostInventory>;
beforeEach(async () => {
  world = await openWorld();
  hosts = new Map();
  world.objects.links.query = async (member) => {
    const inventory = hosts.get(member);
    if (inventory === undefined) throw new AppError('unavailable', 'away');
    await giveInventory(world.ctx, member, inventory);
    return {} as never;
  };
  await stepRecovery(world.ctx, { action: 'open', minutes: 5 });
});
afterEach(() => world.close());

const come = (name: string, publicKey = `key of ${name}`) =>
  noteRecovering(world.db, { name, publicKey, resources: RESOURCES, now: world.ctx.now() });
const admitAll = async () => {
  const { hosts: found } = await readRecovery(world.ctx);
  await stepRecovery(world.ctx, { action: 'admit', hosts: found });
};
const take = (partial = false) => stepRecovery(world.ctx, { action: 'take', partial });
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'done',
    (error: unknown) => (error instanceof AppError ? error.code : 'crashed'),
  );

async function inventoryOf(member: string, instanceName: string): Promise<HostInventory> {
  const { cluster } = await giveBackup(world.ctx, 'node1');
  const motto = { project: 'default', name: 'default', description: 'theirs', config: {}, devices: {} };
  const instance = {
    ...{ id: `id of ${instanceName}`, project: 'default', name: instanceName, type: 'container' as const },
    ...{ architecture: 'x86_64', description: '', ephemeral: false, stateful: false, profiles: ['default'] },
    ...{ config: {}, devices: {}, pool: 'local', createdAt: '2026-11-21T09:00:00.000Z', lastUsedAt: null },
  };
  return {
    takenAt: '2026-11-21T09:00:00.000Z',
    cluster: { ...cluster, profiles: [motto], member: { ...cluster.member, description: `was ${member}` } },
    instances: [{ instance, takenAt: '', expandedConfig: {}, expandedDevices: {}, status: 'Running', state: null }],
    pools: [],
    networks: [],
  };
}

it('takes a host into a living cluster with what only it has, and changes nothing that is there', async () => {
  hosts.set('node3', await inventoryOf('node3', 'c3'));
  await come('node3');
  await admitAll();
  expect(await take()).toMatchObject({ taken: { instances: 1, profiles: 0 }, awaited: [] });
  expect(await world.db.select().from(instances)).toMatchObject([{ name: 'c3', member: 'node3', status: 'Running' }]);
  expect((await world.db.select().from(profiles)).map(({ description }) => description)).not.toContain('theirs');
  const node3 = (await world.db.select().from(members)).find(({ name }) => name === 'node3');
  expect(node3).toMatchObject({ description: 'was node3', publicKey: 'key of node3' });
  expect(await take()).toEqual({ taken: {}, notes: [], awaited: [] });
});

it('waits for all hosts, unless it is told to go on without', async () => {
  hosts.set('node3', await inventoryOf('node3', 'c3'));
  await come('node3');
  await come('node4');
  await admitAll();
  expect(await take()).toEqual({ taken: {}, notes: [], awaited: ['node4'] });
  expect(await take(true)).toMatchObject({ taken: { instances: 1 }, awaited: ['node4'] });
  hosts.set('node4', await inventoryOf('node4', 'c4'));
  expect(await take()).toMatchObject({ taken: { instances: 1 }, awaited: [] });
});

it('tells a host nothing that could replace its copy before that was taken in', async () => {
  hosts.set('node3', await inventoryOf('node3', 'c3'));
  await come('node3');
  await admitAll();
  expect(await codeOf(giveBackup(world.ctx, 'node3'))).toBe('conflict');
  await take();
  expect((await giveBackup(world.ctx, 'node3')).instances).toMatchObject([{ name: 'c3' }]);
});

it('admits nobody who has not asked, nor two of one name', async () => {
  await come('node3');
  await come('node3', 'another key');
  expect(await codeOf(admitAll())).toBe('conflict');
  const unknown = stepRecovery(world.ctx, { action: 'admit', hosts: [{ name: 'node3', key: 'no such key' }] });
  expect(await codeOf(unknown)).toBe('bad_request');
  expect((await world.db.select().from(members)).map(({ name }) => name)).not.toContain('node3');
});

it('takes nothing from a member that is not being recovered', async () => {
  expect(await codeOf(giveInventory(world.ctx, 'node1', await inventoryOf('node1', 'c1')))).toBe('conflict');
});
