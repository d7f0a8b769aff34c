import { describe, expect, it } from 'vitest';
import { prune } from '#worker/jobs/prune.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { idempotencyKeys, triggerDeliveries, triggerLaunches } from '#worker/state/schema.ts';
import { addInstance, openTestDb, T0 } from './helpers.ts';

const later = (days: number) => shiftIso(T0, days * 86_400_000);

describe('pruning what webhooks leave', () => {
  it('forgets launches after 90 days, but never that of an instance which exists', async () => {
    const db = await openTestDb();
    await addInstance(db, 'alive');
    const launch = (deliveryKey: string, instanceId: string) => ({
      triggerId: 't',
      deliveryKey,
      admitted: 1,
      instanceId,
      instanceName: 'n',
      operationId: 'o',
      launchedAt: T0,
    });
    await db.insert(triggerLaunches).values([launch('a', 'id-alive'), launch('b', 'id-gone')]);
    await prune(db, later(89));
    expect(await db.select().from(triggerLaunches)).toHaveLength(2);
    await prune(db, later(91));
    expect((await db.select().from(triggerLaunches)).map((row) => row.deliveryKey)).toEqual(['a']);
  });

  it('forgets deliveries after a week, and the oldest of more than a thousand', async () => {
    const db = await openTestDb();
    const delivery = (triggerId: string, receivedAt: string) => ({
      triggerId,
      deliveryId: '',
      outcome: 'ignored' as const,
      status: 200,
      receivedAt,
    });
    await db.insert(triggerDeliveries).values([delivery('old', T0), delivery('quiet', later(6))]);
    for (let i = 0; i < 11; i++)
      await db.insert(triggerDeliveries).values(Array.from({ length: 100 }, () => delivery('busy', later(6))));
    await prune(db, later(8));
    const rows = await db.select().from(triggerDeliveries);
    expect(rows.filter(({ triggerId }) => triggerId === 'busy')).toHaveLength(1000);
    expect(rows.filter(({ triggerId }) => triggerId !== 'busy').map(({ triggerId }) => triggerId)).toEqual(['quiet']);
    expect(Math.min(...rows.filter((row) => row.triggerId === 'busy').map((row) => row.seq))).toBe(103);
  });

  it('forgets idempotency keys after a day', async () => {
    const db = await openTestDb();
    const key = { id: 'k', requestHash: 'h', operationId: 'o', claimedAt: T0, createdAt: T0 };
    await db.insert(idempotencyKeys).values(key);
    await prune(db, later(0.9));
    expect(await db.select().from(idempotencyKeys)).toHaveLength(1);
    await prune(db, later(1.1));
    expect(await db.select().from(idempotencyKeys)).toEqual([]);
  });
});
