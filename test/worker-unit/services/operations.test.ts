import { describe, expect, it } from 'vitest';
import type { ClusterEvent, NewCommand, Objects } from '#worker/objects/contract.ts';
import type { Authorized } from '#worker/services/context.ts';
import {
  cancelOperation,
  finishOperation,
  startOperation,
  waitForCreated,
  waitOperation,
} from '#worker/services/operations.ts';
import { cancelWaiting } from '#worker/state/commands.ts';
import { insertInstance } from '#worker/state/instance-queries.ts';
import { listCancelling } from '#worker/state/operations.ts';
import { commands, events, instances, operations, tokens } from '#worker/state/schema.ts';
import { addCommand, addInstance, addMember, addOperation, createParams, openTestDb, T0 } from '../state/helpers.ts';

type Call = ['deliver' | 'cancel', string, string[]];

/** Objects at the edge: what they were told, and a wait that ends when `during` has run. */
function edge(during: () => Promise<unknown> = async () => {}) {
  const told: ClusterEvent[] = [];
  const calls: Call[] = [];
  const refuse = async () => {
    throw new Error('not part of this test');
  };
  const objects: Objects = {
    cluster: {
      place: refuse,
      settle: refuse,
      publish: async (list) => void told.push(...list),
      progress: refuse,
      waitOperation: async () => void (await during()),
      connectEvents: refuse,
    },
    links: {
      deliver: async (member, list) => void calls.push(['deliver', member, list.map(({ id }) => id)]),
      cancel: async (member, id) => void calls.push(['cancel', member, [id]]),
      query: refuse,
      presence: refuse,
      state: refuse,
      metrics: async () => ({ samples: [], times: [] }),
      connect: refuse,
      remove: refuse,
      again: async () => {},
      rename: refuse,
    },
    streams: { open: refuse, connect: refuse, transfer: refuse, abort: refuse },
  };
  return { objects, told, calls };
}

async function context(during?: (ctx: Authorized) => Promise<unknown>) {
  const db = await openTestDb();
  await addMember(db, 'm1');
  const outside = edge(() => during?.(ctx) ?? Promise.resolve());
  const quiet = { debug() {}, info() {}, warn() {}, error() {}, with: () => quiet };
  const refuse = async () => {
    throw new Error('not part of this test');
  };
  const ctx: Authorized = {
    db,
    objects: outside.objects,
    blobs: { put: refuse, get: refuse, delete: refuse },
    vars: { publicAddresses: [], serverCertificate: '', linkShards: 1, logLevel: 'error' },
    log: quiet,
    now: () => T0,
    newId: () => crypto.randomUUID(),
    principal: { protocol: 'unix', username: 'root', address: '@', projects: null, member: null },
  };
  return { ctx, db, ...outside };
}

const launch = { class: 'task', description: 'Creating instance', resources: null, location: 'm1' } as const;
const operation = { ...launch, project: 'default', mayCancel: true };
const create: NewCommand = { member: 'm1', name: 'instance.create', params: createParams('c1') };

describe('starting an operation', () => {
  it('writes it with its commands and rows, then tells member and listeners', async () => {
    const { ctx, db, told, calls } = await context();
    const started = await startOperation(ctx, { operation, commands: [create] });
    expect(started).toMatchObject({ status: 'Running', status_code: 103, err: '' });
    const [row] = await db.select().from(commands);
    expect(row).toMatchObject({ operationId: started.id, member: 'm1', status: 'waiting' });
    expect(calls).toEqual([['deliver', 'm1', [row?.id]]]);
    expect(told).toMatchObject([{ type: 'operation', metadata: { id: started.id } }]);
  });

  it('that needs a taken name is a conflict, and nothing of it is written or told', async () => {
    const { ctx, db, told, calls } = await context();
    await addInstance(db, 'c1');
    const [taken] = await db.select().from(instances);
    if (taken === undefined) throw new Error('no instance');
    const start = { operation, commands: [create], writes: [insertInstance(db, { ...taken, id: 'other' })] };
    await expect(startOperation(ctx, start)).rejects.toMatchObject({
      code: 'conflict',
      message: 'This "instances" entry already exists',
    });
    expect(await db.select().from(operations)).toEqual([]);
    expect([...told, ...calls]).toEqual([]);
  });

  it('is done at once when all members are away, whose commands wait for them', async () => {
    const { ctx, db } = await context();
    const started = await startOperation(ctx, { operation, commands: [], converge: [create] });
    expect(started.status).toBe('Success');
    expect(await db.select().from(commands)).toMatchObject([{ operationId: null, status: 'waiting' }]);
  });
});

describe('waiting', () => {
  it('ends when the operation does', async () => {
    const { ctx, db } = await context((own) => finishOperation(own, 'op1', { status: 200, metadata: { a: 1 } }));
    await addOperation(db, 'op1', { metadata: { b: 2 } });
    expect(await waitOperation(ctx, 'op1', -1)).toMatchObject({ status_code: 200, metadata: { a: 1, b: 2 } });
  });

  it('answers the operation as it is when the time is over', async () => {
    const { ctx, db } = await context();
    await addOperation(db, 'op1');
    expect(await waitOperation(ctx, 'op1', 0)).toMatchObject({ status_code: 103 });
  });

  it('for something to be made throws the text of what went wrong', async () => {
    const { ctx, db } = await context((own) => finishOperation(own, 'op1', { status: 400, err: 'no such device' }));
    await addOperation(db, 'op1');
    await expect(waitForCreated(ctx, 'op1')).rejects.toMatchObject({ code: 'failed', message: 'no such device' });
  });
});

describe('cancelling', () => {
  it.each([
    ['a finished operation', { status: 200 }, 'Only running operations can be cancelled'],
    ['one that cannot be', { mayCancel: false }, "This operation can't be cancelled"],
  ])('%s is refused', async (_what, fields, message) => {
    const { ctx, db } = await context();
    await addOperation(db, 'op1', fields);
    await expect(cancelOperation(ctx, 'op1')).rejects.toMatchObject({ code: 'bad_request', message });
  });

  it('an unknown operation is not found', async () => {
    const { ctx } = await context();
    await expect(cancelOperation(ctx, 'nope')).rejects.toMatchObject({ message: 'Operation not found' });
  });

  it('asks a connected member, whose answer ends the operation', async () => {
    const { ctx, db, calls } = await context();
    await addOperation(db, 'op1');
    await addCommand(db, { id: 'k1', name: 'instance.create', params: createParams('c1') }, { operationId: 'op1' });
    await cancelOperation(ctx, 'op1');
    expect(calls).toEqual([['cancel', 'm1', ['k1']]]);
    expect((await db.select().from(operations).get())?.status).toBe(104);
  });

  it('is remembered for a member that has not answered, until it does', async () => {
    const { ctx, db } = await context();
    await addOperation(db, 'op1');
    await addOperation(db, 'op2');
    const create = (id: string) => ({ id, name: 'instance.create' as const, params: createParams(id) });
    await addCommand(db, create('k1'), { operationId: 'op1' });
    await addCommand(db, create('k2'), { operationId: 'op2' });
    expect(await listCancelling(db, 'm1')).toEqual([]);
    await cancelOperation(ctx, 'op1');
    expect(await listCancelling(db, 'm1')).toEqual(['k1']);
    expect(await listCancelling(db, 'm2')).toEqual([]);
    await cancelWaiting(db, 'k1', T0);
    expect(await listCancelling(db, 'm1')).toEqual([]);
  });

  it('ends the operation itself when the member is away', async () => {
    const { ctx, db, told } = await context();
    await addMember(db, 'm2', { online: false });
    await addOperation(db, 'op1');
    const params = createParams('c1');
    await addCommand(db, { id: 'k1', name: 'instance.create', params }, { operationId: 'op1', member: 'm2' });
    await cancelOperation(ctx, 'op1');
    expect((await db.select().from(operations).get())?.status).toBe(401);
    expect(told.map(({ metadata }) => metadata.status ?? metadata.action)).toEqual([
      'Cancelling',
      'Cancelled',
      'operation-cancelled',
    ]);
    expect(await db.select().from(events)).toHaveLength(1);
  });

  it('makes a token unusable', async () => {
    const { ctx, db } = await context();
    await addOperation(db, 'op1', { class: 'token' });
    await db.insert(tokens).values({ operationId: 'op1', kind: 'join', secretHash: 'h', name: 'm2' });
    await cancelOperation(ctx, 'op1');
    expect(await db.select().from(tokens)).toEqual([]);
    expect((await db.select().from(operations).get())?.status).toBe(401);
  });
});
