/**
 * What happened to a member's instances while it had no link. Each event is written once, with its own time, and the row's
 * status follows, so that the inventory that comes next tells no second event of the same change. A member speaks only of
 * its own instances: what it says of others is left out.
 */
import { sql } from 'drizzle-orm';
import type { HostEvent } from '#protocol/host-events.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { instanceUrl } from './instance-urls.ts';
import { runPlan } from './plan.ts';

/** Takes events; throws when the database does not answer, then none was taken. Again is fine. */
export async function applyHostEvents(
  db: Db,
  { member, events, now }: { member: string; events: readonly HostEvent[]; now: string },
): Promise<Followup> {
  return await runPlan(db, { now }, (plan) => {
    for (const { at, action, project, name, status, context } of events) {
      const own = sql`project = ${project} and name = ${name} and member = ${member}`;
      const source = instanceUrl(project, name);
      plan.event(
        { action, source, project, location: member, at, ...(context === undefined ? {} : { context }) },
        sql`exists (select 1 from instances where ${own}) and not exists (select 1 from events
          where location = ${member} and timestamp = ${at} and json_extract(metadata, '$.action') = ${action}
          and json_extract(metadata, '$.source') = ${source})`,
      );
      if (status === null) continue;
      plan.write(sql`update instances set status = ${status}, state_at = ${plan.now}
        where ${own} and status <> ${status} and ${plan.guard}`);
    }
  });
}
