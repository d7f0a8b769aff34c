/** Removing a member, and everything that is recorded as being there. */
import { and, asc, eq, sql } from 'drizzle-orm';
import type { Db } from './db.ts';
import { commands, instances, members, networkMembers, storagePoolMembers } from './schema.ts';
import type { Statement } from './statement.ts';

/** Names of the instances on the member, over all projects. */
export async function listInstanceNamesOn(db: Db, member: string): Promise<string[]> {
  const rows = await db
    .select({ name: instances.name })
    .from(instances)
    .where(eq(instances.member, member))
    .orderBy(asc(instances.name))
    .all();
  return rows.map(({ name }) => name);
}

/** Ids of the commands that will never be answered. */
export async function listWaitingCommandIds(db: Db, member: string): Promise<string[]> {
  const rows = await db
    .select({ id: commands.id })
    .from(commands)
    .where(and(eq(commands.member, member), eq(commands.status, 'waiting')))
    .all();
  return rows.map(({ id }) => id);
}

/** For one batch. Without `force` the member stays while an instance is there, also one placed a moment ago. */
export function removeMember(db: Db, member: string, force: boolean): Statement[] {
  const free = force ? sql`true` : sql`not exists (select 1 from instances where instances.member = ${member})`;
  return [
    ...(force ? [db.delete(instances).where(eq(instances.member, member))] : []),
    db.delete(storagePoolMembers).where(and(eq(storagePoolMembers.member, member), free)),
    db.delete(networkMembers).where(and(eq(networkMembers.member, member), free)),
    db.delete(members).where(and(eq(members.name, member), free)),
  ];
}
