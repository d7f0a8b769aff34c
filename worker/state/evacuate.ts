/** A member's change between service and evacuation, with all that it starts, in one batch. */
import { sql } from 'drizzle-orm';
import { RUNNING, SUCCESS } from '#worker/domain/operation.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { memberUrl } from './members.ts';
import type { NewOperation } from './operation-row.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';

/** What an evacuation remembers in an instance: the member that it goes back to. */
export const ORIGIN_KEY = 'volatile.evacuate.origin';

export interface StateChange {
  member: string;
  to: 'Evacuated' | 'Created';
  operation: NewOperation & { id: string };
  commands: readonly NewCommand[];
  /** Instances that begin to move. */
  moving: readonly { id: string; from: string; to: string }[];
  /** Instances that stay: where they go back to (null: nowhere any more). */
  origins: readonly { id: string; origin: string | null }[];
  event: Pick<LifecycleDraft, 'requestor' | 'location'>;
  now: string;
}

/**
 * Null when the member is in that state already: then nothing was written, whoever was first. Without commands the operation
 * is done at once.
 */
export async function changeMemberState(db: Db, change: StateChange): Promise<Followup | null> {
  const { member, to, operation, commands, now } = change;
  const guard = sql`exists (select 1 from members where name = ${member} and state <> ${to})`;
  const followup = await runPlan(db, { now, guard }, (plan) => {
    plan.operation({ ...operation, status: commands.length === 0 ? SUCCESS : RUNNING });
    for (const command of commands) plan.command(command, operation.id);
    for (const { id, from, to: target } of change.moving) {
      plan.write(sql`update instances set moving_to = ${target}
        where id = ${id} and member = ${from} and moving_to is null and ${guard}`);
    }
    for (const { id, origin } of change.origins) {
      plan.write(sql`update instances set config = json_patch(config, ${JSON.stringify({ [ORIGIN_KEY]: origin })})
        where id = ${id} and ${guard}`);
    }
    plan.event({ action: 'cluster-member-updated', source: memberUrl(member), project: null, ...change.event });
    // Last of all: the guard looks at it.
    plan.write(sql`update members set state = ${to} where name = ${member} and ${guard}`);
  });
  return followup.events.length === 0 ? null : followup;
}
