/** The status of an operation out of its commands, computed inside the batch that moves one of them (`domain/operation.ts`). */
import { sql } from 'drizzle-orm';
import { CANCELLED, FAILURE, FINAL_FROM, SUCCESS } from '#worker/domain/operation.ts';
import type { Plan } from './plan.ts';

/**
 * Moves the operation on when none of its commands waits any more: failed with the first failure's text, else cancelled, else
 * done. A final status stays. Answers the operation for an event in any case, since its metadata may have changed.
 */
export function settleOperation(plan: Plan, operationId: string): void {
  const some = (status: string) =>
    sql`exists (select 1 from commands where operation_id = ${operationId} and status = ${status})`;
  const text = sql`(select error from commands where operation_id = ${operationId} and status = 'failed'
    order by finished_at, rowid limit 1)`;
  plan.write(sql`update operations set
      status = case when ${some('waiting')} then status when ${some('failed')} then ${FAILURE}
        when ${some('cancelled')} then ${CANCELLED} else ${SUCCESS} end,
      err = case when not ${some('waiting')} and ${some('failed')} then coalesce(${text}, '') else err end,
      updated_at = ${plan.now}
    where id = ${operationId} and status < ${FINAL_FROM} and ${plan.guard}`);
  plan.report(operationId);
}
