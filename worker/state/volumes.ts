/** Custom storage volumes, and who has them as disks. A volume is on one member; another member may have one of that name. */
import { and, asc, eq, inArray, type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import { type Db, guardDb } from './db.ts';
import { storageVolumes } from './schema.ts';
import type { Statement } from './statement.ts';

export type VolumeRow = typeof storageVolumes.$inferSelect;
/** What tells one volume from all others. */
export type VolumeKey = Pick<VolumeRow, 'pool' | 'project' | 'name' | 'member'>;

const isVolume = ({ pool, project, name, member }: VolumeKey) =>
  and(
    eq(storageVolumes.pool, pool),
    eq(storageVolumes.project, project),
    eq(storageVolumes.name, name),
    eq(storageVolumes.member, member),
  );

/** Those that are there, of a pool and of projects (null: of all), by project, name and member. */
export const listVolumes = (db: Db, pool: string | null, projects: readonly string[] | null): Promise<VolumeRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(storageVolumes)
      .where(
        and(
          eq(storageVolumes.status, 'Created'),
          pool === null ? undefined : eq(storageVolumes.pool, pool),
          projects === null ? undefined : inArray(storageVolumes.project, [...projects]),
        ),
      )
      .orderBy(asc(storageVolumes.project), asc(storageVolumes.name), asc(storageVolumes.member)),
  );

/** The volumes of one name: one on each member that has it. Also those that are still being made. */
export const listVolumesNamed = (db: Db, pool: string, project: string, name: string): Promise<VolumeRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(storageVolumes)
      .where(and(eq(storageVolumes.pool, pool), eq(storageVolumes.project, project), eq(storageVolumes.name, name))),
  );

/** The project's volumes of any pool by these names. */
export const listVolumesOf = (db: Db, project: string, names: readonly string[]): Promise<VolumeRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(storageVolumes)
      .where(and(eq(storageVolumes.project, project), inArray(storageVolumes.name, [...names]))),
  );

/** Who has a volume as a disk. */
export interface VolumeUser {
  pool: string;
  volume: string;
  kind: 'instance' | 'profile';
  project: string;
  /** Whose volumes it has. */
  owner: string;
  name: string;
  /** Where an instance is and how it was last reported; null for a profile. */
  member: string | null;
  status: string | null;
}

const Users = z.array(
  z.object({
    pool: z.string(),
    volume: z.string(),
    kind: z.enum(['instance', 'profile']),
    project: z.string(),
    owner: z.string(),
    name: z.string(),
    member: z.string().nullable(),
    status: z.string().nullable(),
  }),
);

/**
 * Every use of a pool's custom volumes (null: of all pools'): by an instance's own disks, by the disks it has from profiles
 * and by these profiles. A device that the instance masks does not count.
 */
export async function listVolumeUsers(db: Db, pool: string | null): Promise<VolumeUser[]> {
  const volumeDisk = sql`json_extract(device.value, '$.type') = 'disk' and json_extract(device.value, '$.source') <> ''
    and json_extract(device.value, '$.path') <> '/'
    and ${pool === null ? sql`json_extract(device.value, '$.pool') <> ''` : sql`json_extract(device.value, '$.pool') = ${pool}`}`;
  const what = sql`json_extract(device.value, '$.pool') as pool, json_extract(device.value, '$.source') as volume`;
  // A project without the feature has the default project's.
  const ownerOf = (
    feature: 'profiles' | 'storage.volumes',
    project: SQL,
  ) => sql`(select case when projects.name = 'default'
      or lower(json_extract(projects.config, ${`$."features.${feature}"`})) in ('true', '1', 'yes', 'on')
    then projects.name else 'default' end from projects where projects.name = ${project})`;
  const profileProject = ownerOf('profiles', sql`instances.project`);
  const ofInstance = ownerOf('storage.volumes', sql`instances.project`);
  const ofProfile = ownerOf('storage.volumes', sql`profiles.project`);
  const rows = await guardDb(() =>
    db.all(sql`
      select ${what}, 'instance' as kind, instances.project, ${ofInstance} as owner, instances.name, instances.member, instances.status
        from instances, json_each(instances.devices) as device where ${volumeDisk}
      union select ${what}, 'instance', instances.project, ${ofInstance}, instances.name, instances.member, instances.status
        from instances, json_each(instances.profiles) as used, profiles, json_each(profiles.devices) as device
        where profiles.name = used.value and profiles.project = ${profileProject} and ${volumeDisk}
          and not exists (select 1 from json_each(instances.devices) as own where own.key = device.key)
      union select ${what}, 'profile', profiles.project, ${ofProfile}, profiles.name, null, null
        from profiles, json_each(profiles.devices) as device where ${volumeDisk}`),
  );
  return Users.parse(rows);
}

/** Whether the user has this very volume: an instance only that of its own member and of its project. */
export const isUserOf = (user: VolumeUser, volume: VolumeKey): boolean =>
  user.pool === volume.pool &&
  user.volume === volume.name &&
  user.owner === volume.project &&
  (user.member === null || user.member === volume.member);

/** A unique violation means that the member has one of that name. */
export const insertVolume = (db: Db, row: VolumeRow): Statement => db.insert(storageVolumes).values(row);

export const updateVolume = (
  db: Db,
  key: VolumeKey,
  fields: Partial<Pick<VolumeRow, 'name' | 'description' | 'config'>>,
): Statement => db.update(storageVolumes).set(fields).where(isVolume(key));

/** For effects: the row of the volume, as a condition. */
export const volumeCondition = ({ pool, project, name, member }: VolumeKey): SQL =>
  sql`pool = ${pool} and project = ${project} and name = ${name} and member = ${member}`;
