/** Rows, lifecycle events and converging commands of one change, in one batch. */
import type { NewCommand } from '#worker/objects/contract.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';
import type { Statement } from './statement.ts';

export interface Change {
  writes?: readonly Statement[];
  events?: readonly LifecycleDraft[];
  /** They belong to no operation: members carry them out when they can. */
  commands?: readonly NewCommand[];
}

/** All of it or nothing. Throws `conflict` for an entry that exists, `unavailable` when the database is away. */
export async function applyChange(db: Db, now: string, change: Change): Promise<Followup> {
  return runPlan(db, { now }, (plan) => {
    for (const write of change.writes ?? []) plan.write(write.getSQL());
    for (const event of change.events ?? []) plan.event(event);
    for (const command of change.commands ?? []) plan.command(command, null);
  });
}
