import { eq } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import { parseCommand } from '#protocol/commands.ts';
import { applyResult, cancelWaiting, listWaitingCommands } from '#worker/state/commands.ts';
import type { Db } from '#worker/state/db.ts';
import { findMoveSide } from '#worker/state/instance-move.ts';
import { commands, instances, members, operations } from '#worker/state/schema.ts';
import {
  addCommand,
  addInstance,
  addMember,
  addOperation,
  openTestDb,
  poolSpec,
  report,
  specOf,
  T1,
} from './helpers.ts';

const ARRIVED = {
  ok: true as const,
  result: { report: report('c1', 'Stopped'), volatile: { 'volatile.eth0.name': 'eth0' } },
};
const failure = (message: string) => ({ ok: false as const, error: { code: 'failed' as const, message } });

interface Options {
  start?: boolean;
  evacuates?: string | null;
}

/** c1 is on its way from m1 to m2. */
async function onItsWay({ start = false, evacuates = null }: Options = {}): Promise<Db> {
  const db = await openTestDb();
  await addMember(db, 'm1', evacuates === 'm1' ? { state: 'Evacuated' } : {});
  await addMember(db, 'm2');
  await addInstance(db, 'c1', { movingTo: 'm2', config: { 'user.a': '1', 'volatile.evacuate.origin': 'x' } });
  await addOperation(db, 'op1', { description: 'Migrating instance' });
  const params = { spec: specOf('c1'), streamId: 's1' };
  await addCommand(
    db,
    {
      id: 'receive',
      name: 'instance.receive',
      params: {
        ...params,
        pool: poolSpec(),
        networks: [],
        from: 'm1',
        volatile: { 'volatile.evacuate.origin': '' },
        start,
        evacuates,
      },
    },
    { operationId: 'op1', member: 'm2' },
  );
  await addCommand(
    db,
    { id: 'send', name: 'instance.send', params: { ...params, to: 'm2', stop: null, progress: 'fs_progress' } },
    { operationId: 'op1', member: 'm1' },
  );
  return db;
}

const apply = (db: Db, member: string, id: string, outcome: Parameters<typeof applyResult>[1]['outcome']) =>
  applyResult(db, { member, id, outcome, now: T1 });
const row = async (db: Db) => (await db.select().from(instances).where(eq(instances.id, 'id-c1')))[0];
const operation = async (db: Db) => (await db.select().from(operations).where(eq(operations.id, 'op1')))[0];
const waiting = async (db: Db, member: string) =>
  (await listWaitingCommands(db, member)).map(({ name, params }) =>
    name === 'instance.state' ? `${name} ${params.action}` : name,
  );

describe('a moving instance', () => {
  it('is its new member’s when that has everything, and the old copy goes', async () => {
    const db = await onItsWay();
    expect(await row(db)).toMatchObject({ member: 'm1', movingTo: 'm2' });
    await apply(db, 'm1', 'send', { ok: true, result: {} });
    expect(await row(db)).toMatchObject({ member: 'm1', movingTo: 'm2' });
    const { deliveries } = await apply(db, 'm2', 'receive', ARRIVED);
    expect(await row(db)).toMatchObject({
      member: 'm2',
      movingTo: null,
      config: { 'user.a': '1', 'volatile.eth0.name': 'eth0' },
    });
    expect((await row(db))?.config).not.toHaveProperty('volatile.evacuate.origin');
    expect(deliveries).toMatchObject([
      { member: 'm1', orders: [{ name: 'instance.delete', operationId: null, params: { id: 'id-c1' } }] },
    ]);
    expect(await operation(db)).toMatchObject({ status: 200 });
  });

  it('stays the row it is when the old member says that its copy is gone', async () => {
    const db = await onItsWay();
    await apply(db, 'm1', 'send', { ok: true, result: {} });
    await apply(db, 'm2', 'receive', ARRIVED);
    const [removal] = await listWaitingCommands(db, 'm1');
    await apply(db, 'm1', removal?.id ?? '', { ok: true, result: {} });
    expect(await row(db)).toMatchObject({ member: 'm2' });
  });

  it('is started at its new place when it ran before, and only then is the operation done', async () => {
    const db = await onItsWay({ start: true });
    await apply(db, 'm1', 'send', { ok: true, result: {} });
    await apply(db, 'm2', 'receive', ARRIVED);
    expect(await waiting(db, 'm2')).toEqual(['instance.state start']);
    expect(await operation(db)).toMatchObject({ status: 103 });
  });

  it('stays where it is when it cannot arrive, started again when it ran, with the member in service again', async () => {
    const db = await onItsWay({ start: true, evacuates: 'm1' });
    await apply(db, 'm2', 'receive', failure('pool is full'));
    await apply(db, 'm1', 'send', failure('pool is full'));
    expect(await row(db)).toMatchObject({ member: 'm1', movingTo: null });
    expect(await waiting(db, 'm1')).toEqual(['instance.state start']);
    expect(await waiting(db, 'm2')).toEqual([]);
    expect(await operation(db)).toMatchObject({ status: 400, err: 'pool is full' });
    expect((await db.select().from(members).where(eq(members.name, 'm1')))[0]?.state).toBe('Created');
  });

  it('is deleted at a target that was given up, whatever it says later', async () => {
    const db = await onItsWay();
    await cancelWaiting(db, 'receive', T1);
    expect(await row(db)).toMatchObject({ member: 'm1', movingTo: null });
    expect(await waiting(db, 'm2')).toEqual(['instance.delete']);
    await apply(db, 'm2', 'receive', ARRIVED);
    expect(await row(db)).toMatchObject({ member: 'm1' });
  });

  it('is not taken from a source whose copy was told to start after the move had begun', async () => {
    const db = await onItsWay();
    const start = { spec: specOf('c1'), action: 'start' as const, timeoutSeconds: 0, force: false };
    await addCommand(db, { id: 'later', name: 'instance.state', params: start }, { member: 'm1', status: 'done' });
    await apply(db, 'm2', 'receive', ARRIVED);
    expect(await row(db)).toMatchObject({ member: 'm1', movingTo: null });
    expect(await waiting(db, 'm2')).toEqual(['instance.delete']);
    expect(await waiting(db, 'm1')).toEqual(['instance.send']);
    expect(await operation(db)).toMatchObject({ status: 400, err: 'Instance "c1" was changed while it moved' });
  });

  it('leaves nothing behind when it was deleted meanwhile', async () => {
    const db = await onItsWay();
    await db.delete(instances);
    await apply(db, 'm2', 'receive', ARRIVED);
    const [removal] = await db.select().from(commands).where(eq(commands.name, 'instance.delete'));
    expect(removal).toMatchObject({ member: 'm2', operationId: null });
    expect(parseCommand(removal).params).toMatchObject({ id: 'id-c1', pool: poolSpec() });
  });
});

describe('the stream of a move', () => {
  it('is for the two members of its commands alone, while they stand', async () => {
    const db = await onItsWay();
    expect(await findMoveSide(db, 'm1', 's1')).toMatchObject({ role: 'source', peer: 'm2', peerStands: true });
    expect(await findMoveSide(db, 'm2', 's1')).toMatchObject({ role: 'target', peer: 'm1', peerStands: true });
    expect(await findMoveSide(db, 'm3', 's1')).toBeNull();
    expect(await findMoveSide(db, 'm1', 's2')).toBeNull();
    await db.update(members).set({ online: false }).where(eq(members.name, 'm2'));
    expect(await findMoveSide(db, 'm1', 's1')).toMatchObject({ peerStands: false });
    await apply(db, 'm1', 'send', failure('cut'));
    expect(await findMoveSide(db, 'm1', 's1')).toBeNull();
    expect(await findMoveSide(db, 'm2', 's1')).toMatchObject({ peerStands: false });
  });
});
