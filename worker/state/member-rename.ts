/** A member's new name, everywhere that names it. */
import { sql } from 'drizzle-orm';
import { renameMemberConfig } from './config.ts';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { MEMBER_TABLES } from './member-tables.ts';
import { memberUrl } from './members.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';

export interface Rename {
  from: string;
  to: string;
  /** Of the member that is meant: one that was replaced meanwhile is not renamed. */
  publicKey: string;
  event: LifecycleDraft;
  now: string;
}

/**
 * One batch: the member, all that is recorded as being there, what waits for it, where operations ran and what warnings are
 * about. Its old name is remembered with its key until its agent has learned the new one. Answers no event, and changes
 * nothing, when the member is not there any more. Throws `conflict` for a taken name.
 */
export async function renameMember(db: Db, { from, to, publicKey, event, now }: Rename): Promise<Followup> {
  const guard = sql`exists (select 1 from members where name = ${to} and public_key = ${publicKey})`;
  return await runPlan(db, { now, guard }, (plan) => {
    plan.write(sql`insert or replace into former_members (name, public_key, kind, since)
      select name, public_key, 'renamed', ${now} from members where name = ${from} and public_key = ${publicKey}`);
    plan.write(sql`update members set name = ${to} where name = ${from} and public_key = ${publicKey}`);
    plan.event(event);
    // Coming back to a name that it had: nobody is to be told otherwise.
    plan.write(sql`delete from former_members where name = ${to} and public_key = ${publicKey} and ${guard}`);
    for (const { table } of MEMBER_TABLES) {
      plan.write(sql`update ${table} set member = ${to} where member = ${from} and ${guard}`);
    }
    plan.write(sql`update instances set config = json_set(config, '$."volatile.evacuate.origin"', ${to})
      where json_extract(config, '$."volatile.evacuate.origin"') = ${from} and ${guard}`);
    plan.write(sql`update instances set moving_to = ${to} where moving_to = ${from} and ${guard}`);
    plan.write(sql`update operations set location = ${to} where location = ${from} and ${guard}`);
    const url = sql`case when entity_url = ${memberUrl(from)} then ${memberUrl(to)} else entity_url end`;
    plan.write(sql`update or replace warnings set location = ${to}, entity_url = ${url},
      dedupe_key = json_array(type, ${to}, ${url}) where location = ${from} and ${guard}`);
    plan.write(renameMemberConfig(db, from, to).getSQL());
  });
}
