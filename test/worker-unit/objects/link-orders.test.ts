import { expect, it } from 'vitest';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { createLogger } from '#worker/lib/log.ts';
import { createOrders, type OrdersDeps } from '#worker/objects/link-orders.ts';
import type { Attachment } from '#worker/objects/link-sockets.ts';
import type { Db } from '#worker/state/db.ts';
import type { Followup } from '#worker/state/followup.ts';
import { renameMember } from '#worker/state/member-rename.ts';
import { commands, instances } from '#worker/state/schema.ts';
import {
  addCommand,
  addInstance,
  addMember,
  addOperation,
  createParams,
  openTestDb,
  report,
  T0,
} from '../state/helpers.ts';

const attachment = (member: string): Attachment => ({
  member,
  phase: 'up',
  nonce: '',
  connectedMs: 0,
  sessionMs: 0,
  load: null,
  protocol: PROTOCOL_VERSION,
  blocked: false,
  publicKey: 'key-of-m1',
  place: '',
});

async function openOrders() {
  const db: Db = await openTestDb();
  await addMember(db, 'm1');
  await addInstance(db, 'c1');
  await addOperation(db, 'op');
  const params = createParams('c1', true);
  await addCommand(db, { id: 'x', name: 'instance.create', params }, { operationId: 'op' });
  const followed: Followup[] = [];
  const sent: unknown[] = [];
  const socket = { deserializeAttachment: () => attachment('m1') } as unknown as WebSocket;
  const sockets = {
    send: (_socket: unknown, frame: unknown) => sent.push(frame),
    members: () => ['m1'],
    up: () => socket,
  } as unknown as OrdersDeps['sockets'];
  const log = createLogger('error', {}, () => {});
  const follow = async (followup: Followup) => void followed.push(followup);
  const orders = createOrders({ db, log, sockets, follow, noteTime: () => {} });
  const order = { id: 'x', name: 'instance.create' as const, params, operationId: 'op', createdAt: T0 };
  return { db, orders, socket, order, sent, followed };
}
const done = { ok: true as const, result: { report: report('c1', 'Running'), volatile: {} } };
const rename = (db: Db) => {
  const event = { action: 'cluster-member-renamed', source: '/1.0', project: null, location: 'none' };
  return renameMember(db, { from: 'm1', to: 'm9', publicKey: 'key-of-m1', event, now: T0 });
};

it('sends what nobody came to say was written, and nothing again that was sent', async () => {
  const { orders, sent } = await openOrders();
  await orders.sweep();
  await orders.sweep();
  expect(sent).toMatchObject([{ type: 'command', id: 'x', name: 'instance.create' }]);
});

it('leaves a command that was written a moment ago to who wrote it', async () => {
  const { db, orders, sent } = await openOrders();
  await db.update(commands).set({ createdAt: new Date().toISOString() });
  await orders.sweep();
  expect(sent).toEqual([]);
});

it('sends what waited longer first, when a command is delivered while the link comes up', async () => {
  const { orders, socket, order, sent } = await openOrders();
  orders.hold(socket);
  const delivered = orders.send(socket, 'm1', [{ ...order, id: 'y' }]);
  await orders.greet(socket, 'm1');
  await delivered;
  expect(sent).toMatchObject([{ id: 'x' }, { id: 'y' }]);
});

it('applies a result once, however often it comes', async () => {
  const { db, orders, socket, order, sent, followed } = await openOrders();
  await orders.send(socket, 'm1', [order]);
  expect(sent).toMatchObject([{ type: 'command', id: 'x' }]);
  await orders.take(attachment('m1'), 'x', done);
  await orders.take(attachment('m1'), 'x', done);
  expect(followed.map(({ events }) => events.length > 0)).toEqual([true, false]);
  expect((await db.select().from(instances))[0]?.status).toBe('Running');
});

it.each([true, false])(
  'leaves a result of the moment of a rename to the new name (sent over this link: %s)',
  async (kept) => {
    const { db, orders, socket, order } = await openOrders();
    if (kept) await orders.send(socket, 'm1', [order]);
    await rename(db);
    await expect(orders.take(attachment('m1'), 'x', done)).rejects.toMatchObject({ code: 'unavailable' });
    expect((await db.select().from(commands))[0]).toMatchObject({ member: 'm9', status: 'waiting' });
    await orders.take(attachment('m9'), 'x', done);
    expect((await db.select().from(commands))[0]).toMatchObject({ status: 'done' });
    expect((await db.select().from(instances))[0]).toMatchObject({ member: 'm9', status: 'Running' });
  },
);
