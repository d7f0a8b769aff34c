/** Triggers and what became of their deliveries. */
import { and, asc, count, desc, eq, gt, inArray } from 'drizzle-orm';
import { type Db, guardDb, type Write } from './db.ts';
import { triggerDeliveries, triggerLaunches, triggers } from './schema.ts';
import type { Statement } from './statement.ts';

export type TriggerRow = typeof triggers.$inferSelect;
export type DeliveryRow = typeof triggerDeliveries.$inferSelect;
export type LaunchRow = typeof triggerLaunches.$inferSelect;

const isNamed = (project: string, name: string) => and(eq(triggers.project, project), eq(triggers.name, name));

export const findTrigger = (db: Db, project: string, name: string): Promise<TriggerRow | undefined> =>
  guardDb(() => db.select().from(triggers).where(isNamed(project, name)).get());

export const findTriggerById = (db: Db, id: string): Promise<TriggerRow | undefined> =>
  guardDb(() => db.select().from(triggers).where(eq(triggers.id, id)).get());

/** Of these projects (null: all), by project and name. */
export const listTriggers = (db: Db, projects: string[] | null): Promise<TriggerRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(triggers)
      .where(projects === null ? undefined : inArray(triggers.project, projects))
      .orderBy(asc(triggers.project), asc(triggers.name)),
  );

/** Fails with a unique violation when the project has one of that name. */
export const insertTrigger = (db: Db, row: TriggerRow): Statement => db.insert(triggers).values(row);

export const updateTrigger = (db: Db, id: string, change: Partial<TriggerRow>): Statement =>
  db.update(triggers).set(change).where(eq(triggers.id, id));

/** With its launches and deliveries; instances stay. */
export const deleteTrigger = (db: Db, id: string): Statement[] => [
  db.delete(triggerDeliveries).where(eq(triggerDeliveries.triggerId, id)),
  db.delete(triggerLaunches).where(eq(triggerLaunches.triggerId, id)),
  db.delete(triggers).where(eq(triggers.id, id)),
];

/** Newest first. */
export const listDeliveries = (db: Db, triggerId: string, limit: number): Promise<DeliveryRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(triggerDeliveries)
      .where(eq(triggerDeliveries.triggerId, triggerId))
      .orderBy(desc(triggerDeliveries.seq))
      .limit(limit),
  );

export type NewDelivery = Omit<typeof triggerDeliveries.$inferInsert, 'seq'>;

export const insertDelivery = (db: Db, delivery: NewDelivery): Write => db.insert(triggerDeliveries).values(delivery);

/** Refusals since then of those who proved nothing. */
export async function countRefusals(db: Db, triggerId: string, since: string): Promise<number> {
  const isRefusal = and(
    eq(triggerDeliveries.triggerId, triggerId),
    gt(triggerDeliveries.receivedAt, since),
    inArray(triggerDeliveries.status, [401, 413]),
  );
  const row = await guardDb(() => db.select({ count: count() }).from(triggerDeliveries).where(isRefusal).get());
  return row?.count ?? 0;
}
