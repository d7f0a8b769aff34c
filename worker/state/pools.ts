/**
 * Storage pools and what each member has of them. A pool's row holds the cluster's keys; a member's row its own keys
 * (`source`, `size`, `zfs.pool_name`) and whether the pool exists there.
 */
import { and, asc, eq, inArray, ne, sql } from 'drizzle-orm';
import type { PoolSpec } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import type { Config } from '#worker/domain/config.ts';
import type { Db } from './db.ts';
import { instances, profiles, storagePoolMembers, storagePools, storageVolumes } from './schema.ts';
import type { Statement } from './statement.ts';

export type PoolRow = typeof storagePools.$inferSelect;
export type PoolMemberRow = typeof storagePoolMembers.$inferSelect;
export type PoolWithMembers = PoolRow & { members: PoolMemberRow[] };

export async function findPool(db: Db, name: string): Promise<PoolRow | undefined> {
  const rows = await db.select().from(storagePools).where(eq(storagePools.name, name)).limit(1);
  return rows[0];
}

/** The pool with its members by name, in one round trip. */
export async function findPoolWithMembers(db: Db, name: string): Promise<PoolWithMembers | undefined> {
  const [pools, members] = await db.batch([
    db.select().from(storagePools).where(eq(storagePools.name, name)).limit(1),
    db
      .select()
      .from(storagePoolMembers)
      .where(eq(storagePoolMembers.pool, name))
      .orderBy(asc(storagePoolMembers.member)),
  ]);
  const [pool] = pools;
  return pool && { ...pool, members };
}

export async function listPools(db: Db): Promise<PoolWithMembers[]> {
  const [pools, members] = await db.batch([
    db.select().from(storagePools).orderBy(asc(storagePools.name)),
    db.select().from(storagePoolMembers).orderBy(asc(storagePoolMembers.member)),
  ]);
  return pools.map((pool) => ({ ...pool, members: members.filter((member) => member.pool === pool.name) }));
}

/** The pool as one member is told of it. A later key of the member wins over the cluster's. */
export const toPoolSpec = (pool: PoolRow, memberConfig: Config): PoolSpec => ({
  name: pool.name,
  driver: pool.driver,
  config: { ...pool.config, ...memberConfig },
});

/** What the member is told of the pool: the cluster's keys and its own, merged. Throws `not_found` for an unknown pool. */
export async function poolSpecFor(db: Db, pool: string, member: string): Promise<PoolSpec> {
  const found = await findPoolWithMembers(db, pool);
  if (!found) throw notFound('Storage pool');
  return toPoolSpec(found, found.members.find((row) => row.member === member)?.config ?? {});
}

/** Who uses pools: instances by their root volume, profiles by their disk devices, custom volumes by being there. */
export interface PoolUser {
  pool: string;
  kind: 'instance' | 'profile' | 'volume';
  project: string;
  name: string;
  /** Where an instance or volume is, and the fingerprint of the image it was cloned from there; null otherwise. */
  member: string | null;
  baseImage: string | null;
}

/** Every use of the pool (null: of all pools) in one round trip. */
export async function listPoolUsers(db: Db, pool: string | null): Promise<PoolUser[]> {
  const device = sql`json_each(${profiles.devices}) as device`;
  const devicePool = sql<string>`json_extract(device.value, '$.pool')`;
  const ofInstances = db
    .select({
      pool: sql<string>`${instances.pool}`.as('pool'),
      kind: sql<PoolUser['kind']>`'instance'`.as('kind'),
      project: sql<string>`${instances.project}`.as('project'),
      name: sql<string>`${instances.name}`.as('name'),
      member: sql<string | null>`${instances.member}`.as('member'),
      baseImage: sql<string | null>`json_extract(${instances.config}, '$."volatile.base_image"')`.as('base_image'),
    })
    .from(instances)
    .where(pool === null ? ne(instances.pool, '') : eq(instances.pool, pool));
  const ofProfiles = db
    .selectDistinct({
      pool: devicePool.as('pool'),
      kind: sql<PoolUser['kind']>`'profile'`.as('kind'),
      project: sql<string>`${profiles.project}`.as('project'),
      name: sql<string>`${profiles.name}`.as('name'),
      member: sql<string | null>`null`.as('member'),
      baseImage: sql<string | null>`null`.as('base_image'),
    })
    .from(profiles)
    .innerJoin(device, sql`true`)
    .where(
      and(
        sql`json_extract(device.value, '$.type') = 'disk'`,
        pool === null ? sql`${devicePool} is not null` : sql`${devicePool} = ${pool}`,
      ),
    );
  const ofVolumes = db
    .select({
      pool: storageVolumes.pool,
      kind: sql<PoolUser['kind']>`'volume'`.as('kind'),
      project: storageVolumes.project,
      name: storageVolumes.name,
      member: storageVolumes.member,
      baseImage: sql<string | null>`null`.as('base_image'),
    })
    .from(storageVolumes)
    .where(pool === null ? undefined : eq(storageVolumes.pool, pool));
  const [first, second, third] = await db.batch([ofInstances, ofProfiles, ofVolumes]);
  return [...first, ...second, ...third];
}

export interface PoolInstance {
  project: string;
  name: string;
  member: string;
  createdAt: string;
  /** Fingerprint of the image it was cloned from; null when it was not. */
  baseImage: string | null;
}

/** The instances whose root volume is in the pool, by name; projects null: of all. */
export const listPoolInstances = (db: Db, pool: string, projects: readonly string[] | null): Promise<PoolInstance[]> =>
  db
    .select({
      project: instances.project,
      name: instances.name,
      member: instances.member,
      createdAt: instances.createdAt,
      baseImage: sql<string | null>`json_extract(${instances.config}, '$."volatile.base_image"')`,
    })
    .from(instances)
    .where(and(eq(instances.pool, pool), projects === null ? undefined : inArray(instances.project, [...projects])))
    .orderBy(asc(instances.project), asc(instances.name));

/**
 * The message of a `Pending` member row whose creation was ordered; without it the row is only defined (LXD's first
 * phase), and the member has nothing to remove.
 */
export const CREATING = 'Creating';

/** Whether the host was never asked to create it. */
export const isOnlyDefined = (row: { status: string; message: string }) =>
  row.status === 'Pending' && row.message === '';

/** First phase: the row of the pool if it is new (`Pending`), and the member's. A unique violation: the member has it. */
export const definePoolOnMember = (db: Db, pool: PoolRow, member: string, config: Config): Statement[] => [
  db.insert(storagePools).values(pool).onConflictDoNothing(),
  db.insert(storagePoolMembers).values({ pool: pool.name, member, config, status: 'Pending', message: '' }),
];

/** A unique violation means that the pool exists. */
export const insertPool = (db: Db, pool: PoolRow): Statement => db.insert(storagePools).values(pool);

/** The members' rows as they are to be; existing ones get config and status anew. */
export const putPoolMember = (db: Db, row: PoolMemberRow): Statement =>
  db
    .insert(storagePoolMembers)
    .values(row)
    .onConflictDoUpdate({
      target: [storagePoolMembers.pool, storagePoolMembers.member],
      set: { config: row.config, status: row.status, message: row.message },
    });

export const updatePool = (
  db: Db,
  name: string,
  fields: Partial<Pick<PoolRow, 'description' | 'config' | 'status'>>,
): Statement => db.update(storagePools).set(fields).where(eq(storagePools.name, name));

export const updatePoolMember = (
  db: Db,
  pool: string,
  member: string,
  fields: Partial<Pick<PoolMemberRow, 'config' | 'status' | 'message'>>,
): Statement =>
  db
    .update(storagePoolMembers)
    .set(fields)
    .where(and(eq(storagePoolMembers.pool, pool), eq(storagePoolMembers.member, member)));

/** The pool and all its members' rows. */
export const deletePool = (db: Db, name: string): Statement[] => [
  db.delete(storagePoolMembers).where(eq(storagePoolMembers.pool, name)),
  db.delete(storagePools).where(eq(storagePools.name, name)),
];

export const deletePoolMember = (db: Db, pool: string, member: string): Statement =>
  db.delete(storagePoolMembers).where(and(eq(storagePoolMembers.pool, pool), eq(storagePoolMembers.member, member)));
