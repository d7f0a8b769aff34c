/**
 * What the instance services read and write. Each read is one batch, hence one round trip and one moment: an instance comes
 * with its profiles, its member, and what commands need to know of its pool and networks.
 */
import { and, asc, desc, eq, inArray, like, or, type SQL, sql } from 'drizzle-orm';
import { badRequest } from '#protocol/errors.ts';
import type { Config, Devices } from '#worker/domain/config.ts';
import { isBlocked } from '#worker/domain/member.ts';
import { type Db, guardDb, type Write } from './db.ts';
import type { ImageRow } from './images.ts';
import type { NetworkMemberRow, NetworkRow } from './networks.ts';
import type { PoolMemberRow, PoolRow } from './pools.ts';
import { readRoom, roomQuery } from './project-room.ts';
import {
  imageAliases,
  images,
  instances,
  members,
  networkMembers,
  networks,
  profiles,
  projects,
  storagePoolMembers,
  storagePools,
} from './schema.ts';

export type InstanceRow = typeof instances.$inferSelect;
export type NewInstanceRow = typeof instances.$inferInsert;

/** A profile as far as expansion needs it. */
export interface ProfileLayer {
  project: string;
  name: string;
  config: Config;
  devices: Devices;
}

const memberColumns = { name: members.name, online: members.online, architecture: members.architecture };
const standingColumns = { ...memberColumns, statusReason: members.statusReason };
export type MemberStatus = { name: string; online: boolean; architecture: string };

const layerColumns = {
  project: profiles.project,
  name: profiles.name,
  config: profiles.config,
  devices: profiles.devices,
};

/** The project that a feature of `project` comes from: a project without the feature uses that of `default`. */
function featureProject(project: string, feature: 'images' | 'profiles'): SQL {
  if (project === 'default') return sql`'default'`;
  const value = sql`lower(json_extract(${projects.config}, ${`$."features.${feature}"`}))`;
  return sql`(select case when ${value} in ('true', '1', 'yes', 'on') then ${project} else 'default' end
    from ${projects} where ${projects.name} = ${project})`;
}

const isInstance = (project: string, name: string) => and(eq(instances.project, project), eq(instances.name, name));

/** `column` of the instance, as a scalar subquery. */
const columnOf = (project: string, name: string, column: SQL | typeof instances.member | typeof instances.pool) =>
  sql`(select ${column} from ${instances} where ${isInstance(project, name)})`;

const usedProfiles = (project: string, name: string) =>
  sql`(select used.value from ${instances}, json_each(${instances.profiles}) as used where ${isInstance(project, name)})`;

export interface InstanceList {
  rows: InstanceRow[];
  profiles: ProfileLayer[];
  members: MemberStatus[];
  projects: { name: string; config: Config }[];
}

/** The instances of these projects (null: all) by project and name, with all that rendering needs. */
export async function listInstances(db: Db, scope: string[] | null): Promise<InstanceList> {
  const [rows, layers, memberRows, projectRows] = await guardDb(() =>
    db.batch([
      db
        .select()
        .from(instances)
        .where(scope === null ? undefined : inArray(instances.project, scope))
        .orderBy(asc(instances.project), asc(instances.name)),
      db
        .select(layerColumns)
        .from(profiles)
        .where(scope === null ? undefined : inArray(profiles.project, [...scope, 'default'])),
      db.select(standingColumns).from(members),
      db.select({ name: projects.name, config: projects.config }).from(projects),
    ]),
  );
  // A member that is blocked gets no work but goes on reporting.
  const reporting = memberRows.map((member) => ({ ...member, online: member.online || isBlocked(member) }));
  return { rows, profiles: layers, members: reporting, projects: projectRows };
}

export interface LoadedInstance {
  row: InstanceRow;
  /** The instance's profiles in its order; names that no longer exist are left out. */
  profiles: ProfileLayer[];
  online: boolean;
  /** Its member gets no work but goes on reporting. */
  blocked?: boolean;
}

const inOrder = (names: readonly string[], layers: readonly ProfileLayer[]): ProfileLayer[] =>
  names.flatMap((name) => layers.find((layer) => layer.name === name) ?? []);

/** One instance with its profiles and whether its member is there. */
export async function loadInstance(db: Db, project: string, name: string): Promise<LoadedInstance | undefined> {
  const [rows, layers, memberRows] = await guardDb(() =>
    db.batch([
      db.select().from(instances).where(isInstance(project, name)).limit(1),
      db
        .select(layerColumns)
        .from(profiles)
        .where(
          and(
            eq(profiles.project, featureProject(project, 'profiles')),
            sql`${profiles.name} in ${usedProfiles(project, name)}`,
          ),
        ),
      db
        .select(standingColumns)
        .from(members)
        .where(eq(members.name, columnOf(project, name, instances.member))),
    ]),
  );
  const [row] = rows;
  if (!row) return undefined;
  const [member] = memberRows;
  return {
    row,
    profiles: inOrder(row.profiles, layers),
    online: member?.online ?? false,
    blocked: member !== undefined && isBlocked(member),
  };
}

export interface InstanceForChange extends LoadedInstance {
  /** Every profile asked for and used that exists. */
  layers: ProfileLayer[];
  pool: { row: PoolRow; memberConfig: Config } | null;
  networks: NetworkRow[];
  networkMembers: NetworkMemberRow[];
  /** An instance of the project that has the name asked about. */
  nameTaken: boolean;
}

/**
 * One instance with what commands on its member need: the root disk's pool and all networks as that member has them.
 * `profileNames` are read besides the instance's own; `newName` is looked up.
 */
export async function loadInstanceForChange(
  db: Db,
  project: string,
  name: string,
  more: { profileNames?: readonly string[]; newName?: string } = {},
): Promise<InstanceForChange | undefined> {
  const member = columnOf(project, name, instances.member);
  const pool = columnOf(project, name, instances.pool);
  const [rows, layers, memberRows, poolRows, poolMembers, networkRows, ownNetworks, taken] = await guardDb(() =>
    db.batch([
      db.select().from(instances).where(isInstance(project, name)).limit(1),
      db
        .select(layerColumns)
        .from(profiles)
        .where(
          and(
            eq(profiles.project, featureProject(project, 'profiles')),
            or(
              sql`${profiles.name} in ${usedProfiles(project, name)}`,
              inArray(profiles.name, [...(more.profileNames ?? [])]),
            ),
          ),
        ),
      db.select(memberColumns).from(members).where(eq(members.name, member)),
      db.select().from(storagePools).where(eq(storagePools.name, pool)),
      db
        .select()
        .from(storagePoolMembers)
        .where(and(eq(storagePoolMembers.pool, pool), eq(storagePoolMembers.member, member))),
      db.select().from(networks),
      db.select().from(networkMembers).where(eq(networkMembers.member, member)),
      db
        .select({ id: instances.id })
        .from(instances)
        .where(isInstance(project, more.newName ?? ''))
        .limit(1),
    ]),
  );
  const [row] = rows;
  if (!row) return undefined;
  const [poolRow] = poolRows;
  return {
    row,
    layers,
    profiles: inOrder(row.profiles, layers),
    online: memberRows[0]?.online ?? false,
    pool: poolRow ? { row: poolRow, memberConfig: poolMembers[0]?.config ?? {} } : null,
    networks: networkRows,
    networkMembers: ownNetworks,
    nameTaken: taken.length > 0,
  };
}

/** How a new instance names its image. */
export type ImageQuery =
  | { by: 'fingerprint'; fingerprint: string }
  | { by: 'alias'; alias: string }
  | { by: 'properties'; properties: Config }
  | { by: 'none' };

export interface CreationQuery {
  project: string;
  name: string;
  profileNames: readonly string[];
  image: ImageQuery;
  /** What the instance's own devices name; what its profiles name is found out on the way. */
  pools: readonly string[];
  networks: readonly string[];
}

export interface CreationFacts {
  nameTaken: boolean;
  layers: ProfileLayer[];
  image: ImageRow | undefined;
  members: MemberStatus[];
  pools: PoolRow[];
  poolMembers: PoolMemberRow[];
  networks: NetworkRow[];
  networkMembers: NetworkMemberRow[];
  /** How many more instances the project may have; null: any number. */
  room: number | null;
}

function imageCondition(project: SQL, query: ImageQuery): SQL | undefined {
  switch (query.by) {
    case 'none':
      return sql`false`;
    case 'fingerprint':
      // A beginning of hex digits: no wildcard can be in it.
      return /^[0-9a-f]{1,64}$/.test(query.fingerprint)
        ? like(images.fingerprint, `${query.fingerprint}%`)
        : sql`false`;
    case 'alias':
      return sql`${images.fingerprint} = (select ${imageAliases.fingerprint} from ${imageAliases}
        where ${imageAliases.project} = ${project} and ${imageAliases.name} = ${query.alias})`;
    case 'properties':
      return and(
        ...Object.entries(query.properties).map(
          ([key, value]) =>
            sql`exists (select 1 from json_each(${images.properties}) as p where p.key = ${key} and p.value = ${value})`,
        ),
      );
  }
}

/**
 * All that placing and creating an instance depends on, in one round trip. Throws `bad_request` for a fingerprint that
 * begins more than one image; by properties the newest image that has them all is taken.
 */
export async function loadCreationFacts(db: Db, query: CreationQuery): Promise<CreationFacts> {
  const profileProject = featureProject(query.project, 'profiles');
  const imageProject = featureProject(query.project, 'images');
  const isLayer = and(eq(profiles.project, profileProject), inArray(profiles.name, [...query.profileNames]));
  const named = (option: 'pool' | 'network' | 'parent') =>
    sql`(select json_extract(device.value, ${`$.${option}`}) from ${profiles}, json_each(${profiles.devices}) as device where ${isLayer})`;
  const [taken, layers, imageRows, memberRows, poolRows, poolParts, networkRows, netParts, room] = await guardDb(() =>
    db.batch([
      db.select({ id: instances.id }).from(instances).where(isInstance(query.project, query.name)).limit(1),
      db.select(layerColumns).from(profiles).where(isLayer),
      db
        .select()
        .from(images)
        .where(
          and(eq(images.project, imageProject), eq(images.status, 'ready'), imageCondition(imageProject, query.image)),
        )
        .orderBy(desc(images.createdAt))
        .limit(2),
      db.select(memberColumns).from(members),
      db.select().from(storagePools),
      db
        .select()
        .from(storagePoolMembers)
        .where(
          or(inArray(storagePoolMembers.pool, [...query.pools]), sql`${storagePoolMembers.pool} in ${named('pool')}`),
        ),
      db.select().from(networks),
      db
        .select()
        .from(networkMembers)
        .where(
          or(
            inArray(networkMembers.network, [...query.networks]),
            sql`${networkMembers.network} in ${named('network')}`,
            sql`${networkMembers.network} in ${named('parent')}`,
          ),
        ),
      roomQuery(db, query.project),
    ]),
  );
  if (query.image.by === 'fingerprint' && imageRows.length > 1)
    throw badRequest(`More than one image matches "${query.image.fingerprint}"`);
  return {
    nameTaken: taken.length > 0,
    layers,
    image: imageRows[0],
    members: memberRows,
    pools: poolRows,
    poolMembers: poolParts,
    networks: networkRows,
    networkMembers: netParts,
    room: readRoom(room),
  };
}

/** A unique violation means that the name is taken. */
export const insertInstance = (db: Db, row: NewInstanceRow): Write => db.insert(instances).values(row);

/** What users may change of an instance. */
export interface InstanceChange {
  /** Keys that change; null removes one. Others stay as they are by then: a result may add volatile keys meanwhile. */
  config: Record<string, string | null>;
  devices: Devices;
  profiles: string[];
  description: string;
  ephemeral: boolean;
  memoryBytes: number;
}

export const updateInstance = (db: Db, id: string, { config, ...fields }: InstanceChange): Write =>
  db
    .update(instances)
    .set({ ...fields, config: sql`json_patch(${instances.config}, ${JSON.stringify(config)})` })
    .where(eq(instances.id, id));

/** Notes that the image was used: cached images that nobody uses expire. */
export const touchImage = (db: Db, image: Pick<ImageRow, 'project' | 'fingerprint'>, now: string): Write =>
  db
    .update(images)
    .set({ lastUsedAt: now })
    .where(and(eq(images.project, image.project), eq(images.fingerprint, image.fingerprint)));
