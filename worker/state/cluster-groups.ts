/** Cluster groups. Which members are in one is told by the members' rows. */
import { asc, eq, sql } from 'drizzle-orm';
import type { Db } from './db.ts';
import { clusterGroups, members } from './schema.ts';
import type { Statement } from './statement.ts';

export type ClusterGroupRow = typeof clusterGroups.$inferSelect;

export async function findClusterGroup(db: Db, name: string): Promise<ClusterGroupRow | undefined> {
  return db.select().from(clusterGroups).where(eq(clusterGroups.name, name)).get();
}

export async function listClusterGroups(db: Db): Promise<ClusterGroupRow[]> {
  return db.select().from(clusterGroups).orderBy(asc(clusterGroups.name)).all();
}

/** Fails with a unique violation when the name is taken. */
export const insertClusterGroup = (db: Db, row: ClusterGroupRow): Statement => db.insert(clusterGroups).values(row);

export const updateClusterGroup = (db: Db, name: string, description: string): Statement =>
  db.update(clusterGroups).set({ description }).where(eq(clusterGroups.name, name));

/** The group and its name in the members' rows. */
export const renameClusterGroup = (db: Db, from: string, to: string): Statement[] => [
  db.update(clusterGroups).set({ name: to }).where(eq(clusterGroups.name, from)),
  db
    .update(members)
    .set({
      groups: sql`(select json_group_array(case when value = ${from} then ${to} else value end)
        from json_each(${members.groups}))`,
    })
    .where(sql`exists (select 1 from json_each(${members.groups}) where value = ${from})`),
];

export const deleteClusterGroup = (db: Db, name: string): Statement =>
  db.delete(clusterGroups).where(eq(clusterGroups.name, name));

export const setMemberGroups = (db: Db, member: string, groups: string[]): Statement =>
  db.update(members).set({ groups }).where(eq(members.name, member));
