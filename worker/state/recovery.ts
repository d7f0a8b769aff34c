/** A cluster on its way back from its hosts: who may ask, who has asked, what they have, and the batch that takes it in. */
import { and, asc, eq, ne, sql } from 'drizzle-orm';
import { HostInventory } from '#protocol/backup.ts';
import type { HostResources } from '#protocol/inventory.ts';
import { type Known, type RecoveryPlan, recoveryKey } from '#worker/domain/recovery.ts';
import { deleteServerConfig, findServerConfig, putServerConfig } from './config.ts';
import { type Db, guardDb, runBatch, type Write } from './db.ts';
import * as schema from './schema.ts';

export type RecoveryRow = typeof schema.recoveries.$inferSelect;

/** Strangers can ask as well; nobody looks through more. */
const HOSTS_LIMIT = 1_000;

/** Until when hosts may ask, as an ISO time. */
const WINDOW_KEY = 'internal.recovery';

/** Lets hosts ask. Whoever was not taken in before is forgotten; it comes again. */
export const openRecovery = (db: Db, until: string): Promise<unknown> =>
  runBatch(db, [
    putServerConfig(db, WINDOW_KEY, until),
    db.delete(schema.recoveries).where(ne(schema.recoveries.state, 'admitted')),
  ]);

export const closeRecovery = (db: Db): Promise<unknown> => runBatch(db, [deleteServerConfig(db, WINDOW_KEY)]);

/** Whether hosts may ask now, and whether there has never been a member. */
export async function readRecoveryWindow(db: Db, now: string): Promise<{ isOpen: boolean; isUnused: boolean }> {
  const [until, members, formers] = await guardDb(() =>
    Promise.all([
      findServerConfig(db, WINDOW_KEY),
      db.select({ name: schema.members.name }).from(schema.members).limit(1),
      db.select({ name: schema.formerMembers.name }).from(schema.formerMembers).limit(1),
    ]),
  );
  return { isOpen: until !== undefined && until > now, isUnused: members.length + formers.length === 0 };
}

/** A host that holds this key says that it was `name`. Nothing when name or key is a member's. */
export async function noteRecovering(
  db: Db,
  { name, publicKey, resources, now }: { name: string; publicKey: string; resources: HostResources; now: string },
): Promise<void> {
  await guardDb(() =>
    db.run(sql`insert into recoveries (name, public_key, state, resources, found_at)
      select ${name}, ${publicKey}, 'found', ${JSON.stringify(resources)}, ${now}
      where not exists (select 1 from members where name = ${name} or public_key = ${publicKey})
        and (select count(*) from recoveries) < ${HOSTS_LIMIT}
      on conflict do nothing`),
  );
}

export const listRecoveries = (db: Db): Promise<RecoveryRow[]> =>
  guardDb(() =>
    db.select().from(schema.recoveries).orderBy(asc(schema.recoveries.name), asc(schema.recoveries.publicKey)),
  );

/** Makes these hosts members again. One whose name or key has become a member's meanwhile is left out. */
export async function admitRecovering(db: Db, rows: readonly RecoveryRow[], now: string): Promise<void> {
  const writes = rows.flatMap(({ name, publicKey, resources }): Write[] => [
    db.run(sql`insert or ignore into members (name, public_key, roles, groups, config, architecture, status_reason,
        status_changed_at, resources, created_at)
      values (${name}, ${publicKey}, '["database"]', '["default"]', '{}', ${resources.architecture},
        'The agent has not connected yet', ${now}, ${JSON.stringify(resources)}, ${now})`),
    db.run(sql`update recoveries set state = 'admitted' where name = ${name} and public_key = ${publicKey}
      and state = 'found' and exists (select 1 from members where name = ${name} and public_key = ${publicKey})`),
  ]);
  await runBatch(db, writes);
}

/** The member's host waits for what it has to be taken in: it must not be told what is in the database until then. */
export async function isRecovering(db: Db, member: string): Promise<boolean> {
  const { recoveries } = schema;
  const waiting = and(eq(recoveries.name, member), eq(recoveries.state, 'admitted'));
  return (
    (await guardDb(() => db.select({ name: recoveries.name }).from(recoveries).where(waiting).get())) !== undefined
  );
}

/** False for a member that is not being recovered. */
export async function keepInventory(db: Db, member: string, inventory: HostInventory): Promise<boolean> {
  const { recoveries } = schema;
  const kept = await guardDb(() =>
    db
      .update(recoveries)
      .set({ inventory })
      .where(and(eq(recoveries.name, member), eq(recoveries.state, 'admitted')))
      .returning({ name: recoveries.name }),
  );
  return kept.length > 0;
}

/** A column of JSON is not parsed by anybody else. */
export const inventoryOf = ({ inventory }: RecoveryRow): HostInventory | null =>
  inventory === null ? null : HostInventory.parse(inventory);

/** What the database has, to be left as it is. */
export async function readKnown(db: Db): Promise<Known> {
  const [config, groups, projects, profiles, pools, networks, images, aliases, instances] = await guardDb(() =>
    db.batch([
      db.select({ key: schema.serverConfig.key }).from(schema.serverConfig),
      db.select({ name: schema.clusterGroups.name }).from(schema.clusterGroups),
      db.select({ name: schema.projects.name }).from(schema.projects),
      db.select({ project: schema.profiles.project, name: schema.profiles.name }).from(schema.profiles),
      db.select({ name: schema.storagePools.name }).from(schema.storagePools),
      db.select({ name: schema.networks.name }).from(schema.networks),
      db.select({ project: schema.images.project, name: schema.images.fingerprint }).from(schema.images),
      db.select({ project: schema.imageAliases.project, name: schema.imageAliases.name }).from(schema.imageAliases),
      db
        .select({
          id: schema.instances.id,
          project: schema.instances.project,
          name: schema.instances.name,
          member: schema.instances.member,
        })
        .from(schema.instances),
    ]),
  );
  const inProject = (rows: { project: string; name: string }[]) =>
    new Set(rows.map(({ project, name }) => recoveryKey(project, name)));
  const named = (rows: { name: string }[]) => new Set(rows.map(({ name }) => name));
  const sets = {
    config: new Set(config.map(({ key }) => key)),
    groups: named(groups),
    projects: named(projects),
    profiles: inProject(profiles),
    pools: named(pools),
    networks: named(networks),
    images: inProject(images),
    aliases: inProject(aliases),
  };
  const byName = new Map(instances.map((row) => [recoveryKey(row.project, row.name), row]));
  return {
    fresh: pools.length + networks.length + instances.length === 0 && profiles.length + projects.length <= 2,
    has: (kind, key) => sets[kind].has(key),
    instance: (project, name) => byName.get(recoveryKey(project, name)),
  };
}

/** Rows of one statement. */
const CHUNK = 50;

function chunks<T>(rows: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(rows.length / CHUNK) }, (_, index) =>
    rows.slice(index * CHUNK, (index + 1) * CHUNK),
  );
}

/** Takes the plan in and marks its hosts as done, in one batch: all of it or nothing. What is there already stays. */
export async function applyRecovery(db: Db, plan: RecoveryPlan, now: string): Promise<void> {
  const created = { status: 'Created' as const };
  const replace = { description: sql`excluded.description`, config: sql`excluded.config` };
  await runBatch(db, [
    ...plan.members.flatMap(({ member, backup }): Write[] => [
      ...(backup === null ? [] : [db.update(schema.members).set(backup).where(eq(schema.members.name, member))]),
      db
        .update(schema.recoveries)
        .set({ state: 'recovered', inventory: null })
        .where(eq(schema.recoveries.name, member)),
    ]),
    ...chunks(plan.config).map((rows) =>
      db
        .insert(schema.serverConfig)
        .values(rows.map(([key, value]) => ({ key, value })))
        .onConflictDoNothing(),
    ),
    ...chunks(plan.groups).map((rows) => db.insert(schema.clusterGroups).values(rows).onConflictDoNothing()),
    ...chunks(plan.projects).map((rows) =>
      db.insert(schema.projects).values(rows).onConflictDoUpdate({ target: schema.projects.name, set: replace }),
    ),
    ...chunks(plan.profiles).map((rows) =>
      db
        .insert(schema.profiles)
        .values(rows)
        .onConflictDoUpdate({
          target: [schema.profiles.project, schema.profiles.name],
          set: { ...replace, devices: sql`excluded.devices` },
        }),
    ),
    ...chunks(plan.pools).map((rows) =>
      db
        .insert(schema.storagePools)
        .values(rows.map((row) => ({ ...row, ...created })))
        .onConflictDoNothing(),
    ),
    ...chunks(plan.poolMembers).map((rows) => db.insert(schema.storagePoolMembers).values(rows).onConflictDoNothing()),
    ...chunks(plan.networks).map((rows) =>
      db
        .insert(schema.networks)
        .values(rows.map((row) => ({ ...row, ...created })))
        .onConflictDoNothing(),
    ),
    ...chunks(plan.networkMembers).map((rows) => db.insert(schema.networkMembers).values(rows).onConflictDoNothing()),
    ...chunks(plan.volumes).map((rows) =>
      db
        .insert(schema.storageVolumes)
        .values(rows.map((row) => ({ ...row, ...created })))
        .onConflictDoNothing(),
    ),
    ...chunks(plan.images).map((rows) =>
      db
        .insert(schema.images)
        .values(rows.map((row) => ({ ...row, status: 'ready' as const })))
        .onConflictDoNothing(),
    ),
    ...chunks(plan.aliases).map((rows) => db.insert(schema.imageAliases).values(rows).onConflictDoNothing()),
    ...chunks(plan.instances).map((rows) =>
      db
        .insert(schema.instances)
        .values(rows.map(({ instance, ...found }) => ({ ...instance, ...found, stateAt: now })))
        .onConflictDoNothing(),
    ),
  ]);
}
