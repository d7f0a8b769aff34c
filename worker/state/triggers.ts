/** Triggers and what became of their deliveries. */
import { and, asc, desc, eq, inArray, sql } from 'drizzle-orm';
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

/** Records a refusal of somebody who proved nothing, at most `limit` since `since`: strangers cannot fill the table. */
export const insertRefusal = (
  db: Db,
  delivery: NewDelivery,
  { since, limit }: { since: string; limit: number },
): Write =>
  db.run(sql`insert into trigger_deliveries (trigger_id, delivery_id, outcome, status, reason, instance_name, operation_id, received_at)
    select ${delivery.triggerId}, ${delivery.deliveryId}, ${delivery.outcome}, ${delivery.status}, ${delivery.reason ?? ''}, '', '', ${delivery.receivedAt}
    where (select count(*) from trigger_deliveries where trigger_id = ${delivery.triggerId}
      and received_at > ${since} and status in (401, 413)) < ${limit}`);
