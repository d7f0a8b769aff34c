/** Forgetting what is over, so that the tables stay small. Repeating or racing it does no harm. */
import { sql } from 'drizzle-orm';
import { FINAL_FROM } from '#worker/domain/operation.ts';
import { deleteExpiredAccessTokens } from './access-tokens.ts';
import { type Db, runBatch } from './db.ts';
import { adoptStatements, forgetStatement } from './former-members.ts';

export interface PruneLimits {
  /** Operations finished before this go, with their commands and tokens. */
  operationsBefore: string;
  /** Commands without an operation finished before this go. */
  commandsBefore: string;
  eventsBefore: string;
  warningsBefore: string;
  /** Names of renamed members whose agents learned it before this. */
  renamedBefore: string;
  /** Names of members removed before this. */
  removedBefore: string;
  /** Launches of triggers whose instance is gone, and that came before this. */
  launchesBefore: string;
  deliveriesBefore: string;
  idempotencyBefore: string;
  /** Bearer tokens that were good until this. */
  accessTokensBefore: string;
}

/** Deliveries of one trigger that are kept at most: whoever sends may send often. */
const DELIVERIES_PER_TRIGGER = 1_000;

/** Deletes in one batch; what still runs or waits is never touched. */
export async function deleteFinished(db: Db, limits: PruneLimits): Promise<void> {
  const { operationsBefore, commandsBefore, eventsBefore, warningsBefore, launchesBefore } = limits;
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
    // What a request wrote for an old name while the member took its new one.
    ...adoptStatements().map((statement) => db.run(statement)),
    db.run(forgetStatement(limits.renamedBefore, limits.removedBefore)),
    db.run(sql`delete from warnings where status = 'resolved' and last_seen_at < ${warningsBefore}`),
    db.run(sql`delete from trigger_launches where launched_at < ${launchesBefore}
      and not exists (select 1 from instances where id = instance_id)`),
    db.run(sql`delete from trigger_deliveries where received_at < ${limits.deliveriesBefore} or seq in (
      select seq from (select seq, row_number() over (partition by trigger_id order by seq desc) as place
        from trigger_deliveries) where place > ${DELIVERIES_PER_TRIGGER})`),
    db.run(sql`delete from idempotency_keys where created_at < ${limits.idempotencyBefore}`),
    deleteExpiredAccessTokens(db, limits.accessTokensBefore),
    db.run(sql`delete from webhook_queue where event_seq not in (select seq from events)`),
  ]);
}
