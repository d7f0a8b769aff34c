import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AppError, unavailable } from '#protocol/errors.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { idempotencyKeys, instances, operations } from '#worker/state/schema.ts';
import { type Client, makeClient } from './api.ts';
import { NOW, openTriggers, SIMPLE, type TriggerWorld } from './routes/trigger-world.ts';

let client: Client;
beforeAll(async () => {
  client = await makeClient('laptop');
});
let world: TriggerWorld;
beforeEach(async () => {
  world = await openTriggers(client);
});
afterEach(() => world.close());

const BODY = { source: { type: 'image', alias: 'bb' } };
const create = (key: string, body: object = BODY, path = '/1.0/instances') =>
  world.call('POST', path, body, { 'idempotency-key': key });
const count = async () => (await world.db.select().from(instances)).length;

describe('a creating request with an Idempotency-Key', () => {
  it('that comes again gets the same operation and creates nothing', async () => {
    const first = await create('k1');
    const second = await create('k1');
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(second.body).toEqual(first.body);
    expect(second.headers.get('location')).toBe(first.body.operation);
    expect([first, second].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true']);
    expect(await count()).toBe(1);
  });

  it('that comes many times at once creates one instance, and all get its operation', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => create('k1')));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
    expect(new Set(answers.map(({ body }) => body.operation)).size).toBe(1);
    expect(await count()).toBe(1);
  });

  it('is refused when the key came with another body, path or query', async () => {
    await create('k1');
    expect((await create('k1', { ...BODY, name: 'other' })).status).toBe(422);
    expect((await create('k1', BODY, '/1.0/instances?target=node1')).status).toBe(422);
    expect((await create('k1', SIMPLE, '/1.0/triggers')).status).toBe(422);
    expect(await count()).toBe(1);
  });

  it('under another key is another request', async () => {
    await create('k1');
    await create('k2');
    expect(await count()).toBe(2);
  });

  it('that was refused leaves the key free', async () => {
    expect((await create('k1', { ...BODY, name: '1bad' })).status).toBe(400);
    expect((await create('k1', { ...BODY, name: 'good' })).status).toBe(202);
  });

  it.each(['', 'a b', 'ä', 'x'.repeat(256)])('is refused with the key %j', async (key) => {
    expect((await create(key)).status).toBe(400);
  });

  it('finds its operation when the answer was lost in a crash', async () => {
    const first = await create('k1');
    // As it is when the control plane dies between the two batches.
    await world.db.update(idempotencyKeys).set({ answer: null });
    world.clock.now = shiftIso(NOW, 91_000);
    const second = await create('k1');
    expect([second.status, second.body.operation]).toEqual([202, first.body.operation]);
    expect(await count()).toBe(1);
    expect((await create('k1')).body.operation).toBe(first.body.operation);
  });

  it('runs again when it died before anything was made', async () => {
    await create('k1');
    const [row] = await world.db.select().from(idempotencyKeys);
    await world.db.update(idempotencyKeys).set({ answer: null });
    await world.db.delete(instances);
    await world.db.delete(operations);
    world.clock.now = shiftIso(NOW, 91_000);
    expect((await create('k1')).body.operation).toBe(`/1.0/operations/${row?.operationId}`);
    expect(await count()).toBe(1);
  });

  it('can be tried again at once when the database or every member was away', async () => {
    const { place } = world.objects.cluster;
    world.objects.cluster.place = () => Promise.reject(unavailable('away'));
    expect((await create('k1')).status).toBe(503);
    world.objects.cluster.place = place;
    expect((await create('k1')).status).toBe(202);
    expect(await count()).toBe(1);
  });

  it('that failed for a reason of ours is tried again as the same operation', async () => {
    const { place } = world.objects.cluster;
    world.objects.cluster.place = () => Promise.reject(new AppError('internal', 'x'));
    expect((await create('k1')).status).toBe(500);
    world.objects.cluster.place = place;
    expect((await create('k1')).status).toBe(202);
  });

  it('keeps answers encrypted, since they may carry secrets', async () => {
    const first = await create('k1', SIMPLE, '/1.0/triggers');
    const [row] = await world.db.select().from(idempotencyKeys);
    expect(row?.answer).toMatch(/^v1\./);
    expect(JSON.stringify(row)).not.toContain(first.body.metadata.secret.slice(6));
    const second = await create('k1', SIMPLE, '/1.0/triggers');
    expect([second.status, second.body.metadata.secret]).toEqual([201, first.body.metadata.secret]);
  });
});

it('a reading or changing request has no use for the key', async () => {
  await create('k1', SIMPLE, '/1.0/triggers');
  const headers = { 'idempotency-key': 'k1' };
  expect((await world.call('GET', '/1.0/triggers', undefined, headers)).status).toBe(200);
  expect((await world.call('PATCH', '/1.0/triggers/build', { description: 'x' }, headers)).status).toBe(200);
  expect((await world.call('PATCH', '/1.0/triggers/build', { description: 'y' }, headers)).status).toBe(200);
});
