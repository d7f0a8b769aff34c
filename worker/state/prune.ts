/** Forgetting what is over, so that the tables stay small. Repeating or racing it does no harm. */
import { sql } from 'drizzle-orm';
import { FINAL_FROM } from '#worker/domain/operation.ts';
import { type Db, runBatch } from './db.ts';

export interface PruneLimits {
  /** Operations finished before this go, with their commands and tokens. */
  operationsBefore: string;
  /** Commands without an operation finished before this go. */
  commandsBefore: string;
  eventsBefore: string;
  warningsBefore: string;
}

/** Deletes in one batch; what still runs or waits is never touched. */
export async function deleteFinished(db: Db, limits: PruneLimits): Promise<void> {
  const { operationsBefore, commandsBefore, eventsBefore, warningsBefore } = limits;
  const over = sql`select id from operations where status >= ${FINAL_FROM} and updated_at < ${operationsBefore}`;
  await runBatch(db, [
    db.run(sql`delete from commands where status <> 'waiting' and operation_id in (${over})`),
    db.run(sql`delete from commands where status <> 'waiting' and finished_at < ${commandsBefore}
      and (operation_id is null or operation_id not in (select id from operations))`),
    db.run(sql`delete from tokens where operation_id in (${over})`),
    db.run(sql`delete from operations where status >= ${FINAL_FROM} and updated_at < ${operationsBefore}
      and not exists (select 1 from commands where operation_id = operations.id and status = 'waiting')`),
    db.run(sql`delete from instance_placements where not exists
      (select 1 from instances where id = instance_placements.instance_id)`),
    db.run(sql`delete from events where timestamp < ${eventsBefore}`),
    db.run(sql`delete from warnings where status = 'resolved' and last_seen_at < ${warningsBefore}`),
  ]);
}
