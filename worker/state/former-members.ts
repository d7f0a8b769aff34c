/** Names that a member's key does not go by any more: what an agent that comes with one is to be told. */
import { and, eq, or, type SQL, sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import { MEMBER_TABLES } from './member-tables.ts';
import { formerMembers, members } from './schema.ts';
import { warningStatement } from './warnings.ts';

export type FormerMember = typeof formerMembers.$inferSelect;

export const REMOVED_WARNING = 'Removed cluster member returned';

/** The keys that once were `name`, and the names that its present key once had. */
export async function readFormerNames(db: Db, name: string): Promise<FormerMember[]> {
  const key = db.select({ key: members.publicKey }).from(members).where(eq(members.name, name));
  const related = or(eq(formerMembers.name, name), sql`${formerMembers.publicKey} = ${key}`);
  return await guardDb(() => db.select().from(formerMembers).where(related));
}

/** What the member with this key is called now. */
export async function findNameOfKey(db: Db, publicKey: string): Promise<string | undefined> {
  const row = await guardDb(() =>
    db.select({ name: members.name }).from(members).where(eq(members.publicKey, publicKey)).get(),
  );
  return row?.name;
}

/** Notes that the removed member's agent came back and was told, in a warning for people. */
export async function recordRefused(db: Db, { name, publicKey }: FormerMember, now: string): Promise<void> {
  const message = `The host that was cluster member "${name}" came back and was refused: it can join again with a new token`;
  const warning = { type: REMOVED_WARNING, severity: 'low', location: name, message, now } as const;
  await guardDb(() =>
    db.batch([
      db
        .update(formerMembers)
        .set({ learnedAt: now })
        .where(and(eq(formerMembers.name, name), eq(formerMembers.publicKey, publicKey))),
      db.run(warningStatement(warning)),
    ]),
  );
}

/**
 * What was written for an old name of a member by requests that began before its rename, given to the new one. A name that
 * somebody else has by now is left alone.
 */
export function adoptStatements(): SQL[] {
  const renamed = sql`from former_members as former join members as present on present.public_key = former.public_key
    where former.kind = 'renamed'`;
  return MEMBER_TABLES.map(
    ({ table }) => sql`update or ignore ${table} set member = (select present.name ${renamed} and former.name = member)
      where member in (select former.name ${renamed}) and member not in (select name from members)`,
  );
}

/** The member has come under its present name: its old ones are kept only for requests still on their way. */
export const learnedStatement = (member: string, now: string): SQL =>
  sql`update former_members set learned_at = ${now}
    where learned_at is null and public_key = (select public_key from members where name = ${member})`;

/** Old names whose time is over: learned before `learnedBefore`, removed before `removedBefore`. */
export const forgetStatement = (learnedBefore: string, removedBefore: string): SQL =>
  sql`delete from former_members where (kind = 'renamed' and learned_at < ${learnedBefore})
    or (kind = 'removed' and since < ${removedBefore})`;
