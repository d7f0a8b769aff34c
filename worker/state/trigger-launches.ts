/**
 * Launches of triggers. Limits and the once of a delivery are decided by the statement that writes a launch, in the batch of
 * its instance: whatever is read before only spares the work of a batch that would fail.
 */
import { and, eq, isNotNull, lte, sql } from 'drizzle-orm';
import { z } from 'zod';
import { type Db, guardDb, type Write } from './db.ts';
import { instances, members, triggerLaunches } from './schema.ts';
import type { LaunchRow, NewDelivery } from './triggers.ts';

export interface LaunchFacts {
  /** The launch of this very delivery. */
  earlier: LaunchRow | undefined;
  /** Instances of the trigger that exist. */
  alive: number;
  sinceHour: number;
  /** Launch times within the hour: the oldest. */
  oldestInHour: string | null;
  /** A delivery that meant to delete this instance came before it. */
  deletedBefore: boolean;
}

const aliveOf = (triggerId: string) =>
  sql`(select count(*) from trigger_launches l join instances i on i.id = l.instance_id where l.trigger_id = ${triggerId})`;
const launchedOf = (triggerId: string, since: string) =>
  sql`(select count(*) from trigger_launches where trigger_id = ${triggerId} and launched_at > ${since})`;
/** Deletions that found nothing, of the last while: senders do not promise any order. */
const absentOf = (triggerId: string, name: string, since: string) =>
  sql`exists (select 1 from trigger_deliveries where trigger_id = ${triggerId} and outcome = 'absent'
    and instance_name = ${name} and received_at > ${since})`;

const Facts = z.object({ alive: z.number(), hour: z.number(), oldest: z.string().nullable(), absent: z.number() });

export interface LaunchQuery {
  triggerId: string;
  deliveryKey: string;
  /** Empty: it has none yet. */
  instanceName: string;
  /** An hour ago. */
  hourAgo: string;
}

/** How the trigger stands, in one round trip. */
export async function readLaunchFacts(db: Db, query: LaunchQuery): Promise<LaunchFacts> {
  const { triggerId, hourAgo } = query;
  const [earlier, [counts]] = await guardDb(() =>
    db.batch([
      db
        .select()
        .from(triggerLaunches)
        .where(and(eq(triggerLaunches.triggerId, triggerId), eq(triggerLaunches.deliveryKey, query.deliveryKey))),
      db.all<unknown>(sql`select ${aliveOf(triggerId)} as alive, ${launchedOf(triggerId, hourAgo)} as hour,
        (select min(launched_at) from trigger_launches where trigger_id = ${triggerId} and launched_at > ${hourAgo}) as oldest,
        ${absentOf(triggerId, query.instanceName, hourAgo)} as absent`),
    ]),
  );
  const { alive, hour, oldest, absent } = Facts.parse(counts);
  return { earlier: earlier[0], alive, sinceHour: hour, oldestInHour: oldest, deletedBefore: absent !== 0 };
}

/**
 * The launch, for the batch of its instance and before the instance's row. The batch fails with a unique violation when the
 * delivery has launched, and as `isNotAdmitted` tells when a limit is reached or its deletion came first.
 */
export const insertLaunch = (
  db: Db,
  launch: Omit<LaunchRow, 'admitted'>,
  limits: { concurrency: number | null; perHour: number | null; hourAgo: string },
): Write => {
  const { triggerId, instanceName } = launch;
  const { concurrency, perHour, hourAgo } = limits;
  return db.run(sql`insert into trigger_launches
      (trigger_id, delivery_key, admitted, instance_id, instance_name, operation_id, launched_at, expires_at)
    select ${triggerId}, ${launch.deliveryKey}, case when
        ${concurrency === null ? sql`true` : sql`${aliveOf(triggerId)} < ${concurrency}`}
        and ${perHour === null ? sql`true` : sql`${launchedOf(triggerId, hourAgo)} < ${perHour}`}
        and not ${absentOf(triggerId, instanceName, hourAgo)} then 1 end,
      ${launch.instanceId}, ${instanceName}, ${launch.operationId}, ${launch.launchedAt}, ${launch.expiresAt}`);
};

/** True for the failure of a batch whose launch was not admitted. */
export function isNotAdmitted(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || depth > 6) return false;
  return (
    /NOT NULL constraint failed: trigger_launches\.admitted/.test(error.message) ||
    isNotAdmitted(error.cause, depth + 1)
  );
}

/**
 * Ends the life of the trigger's instance of this name now. With no such instance it is noted instead, so that a launch that
 * was overtaken does not happen. True when there is one.
 */
export async function endLaunch(db: Db, delivery: NewDelivery & { instanceName: string }): Promise<boolean> {
  const { triggerId, instanceName: name, receivedAt: now } = delivery;
  const living = sql`select l.instance_id from trigger_launches l join instances i on i.id = l.instance_id
    where l.trigger_id = ${triggerId} and l.instance_name = ${name}`;
  const [ended] = await guardDb(() =>
    db.batch([
      db.all<unknown>(sql`update trigger_launches set expires_at = min(coalesce(expires_at, ${now}), ${now})
        where trigger_id = ${triggerId} and instance_id in (${living}) returning instance_id`),
      db.run(sql`insert into trigger_deliveries (trigger_id, delivery_id, outcome, status, reason, instance_name, operation_id, received_at)
        select ${triggerId}, ${delivery.deliveryId}, 'absent', ${delivery.status}, ${delivery.reason ?? ''}, ${name}, '', ${now}
        where not exists (${living})`),
    ]),
  );
  return ended.length > 0;
}

/** An instance whose time is over. */
export interface Overdue {
  project: string;
  name: string;
  status: 'Running' | 'Stopped' | 'Frozen' | 'Error';
}

/** Instances due at `now` on members that are there, with nothing under way for them; of one trigger's `name`, or all. */
export async function listOverdue(
  db: Db,
  { now, limit, only }: { now: string; limit: number; only?: { triggerId: string; name: string } },
): Promise<Overdue[]> {
  const busy = sql`exists (select 1 from commands where status = 'waiting' and member = ${instances.member}
    and (json_extract(params, '$.spec.id') = ${instances.id}
      or (json_extract(params, '$.ref.project') = ${instances.project} and json_extract(params, '$.ref.name') = ${instances.name})))`;
  const isThis =
    only && and(eq(triggerLaunches.triggerId, only.triggerId), eq(triggerLaunches.instanceName, only.name));
  return await guardDb(() =>
    db
      .select({ project: instances.project, name: instances.name, status: instances.status })
      .from(triggerLaunches)
      .innerJoin(instances, eq(instances.id, triggerLaunches.instanceId))
      .innerJoin(members, eq(members.name, instances.member))
      .where(
        and(
          isNotNull(triggerLaunches.expiresAt),
          lte(triggerLaunches.expiresAt, now),
          eq(members.online, true),
          sql`not ${busy}`,
          isThis,
        ),
      )
      .limit(limit),
  );
}
