/** Hosts that were found with a member's identity beside the one that is the member: told apart by their boot. */
import { sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import { type WarningDraft, warningStatement } from './warnings.ts';

/** One image, started many times; the oldest are let go, as only a host that still runs can come again. */
const KEPT = 16;

export const IDENTITY_WARNING = 'Cluster member identity used twice';

type Finding = Pick<WarningDraft, 'message' | 'now'> & { member: string };

/** What a person is to know of it; the same member's again only counts up. */
const identityWarning = ({ member, message, now }: Finding) =>
  warningStatement({ type: IDENTITY_WARNING, severity: 'high', location: member, message, now });

/** The boot stays out from now on, also when the member's own host is away; a warning says so. Repeating it is fine. */
export async function barBoot(db: Db, finding: Finding & { bootId: string }): Promise<void> {
  const { member, bootId } = finding;
  const isNew = sql`not exists (select 1 from json_each(barred_boots) where value = ${bootId})`;
  const room = sql`case when json_array_length(barred_boots) < ${KEPT} then barred_boots
    else json_remove(barred_boots, '$[0]') end`;
  const bar = sql`update members set barred_boots = json_insert(${room}, '$[#]', ${bootId})
    where name = ${member} and ${isNew}`;
  await guardDb(() => db.batch([db.run(bar), db.run(identityWarning(finding))]));
}

/** Throws when the database does not answer. */
export async function recordTwin(db: Db, finding: Finding): Promise<void> {
  await guardDb(() => db.run(identityWarning(finding)));
}
