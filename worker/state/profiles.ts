/** Profiles, and which instances use them. */
import { and, asc, eq, type SQL, sql } from 'drizzle-orm';
import type { Db } from './db.ts';
import type { Followup } from './followup.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';
import { instances, profiles } from './schema.ts';
import type { Statement } from './statement.ts';

export type ProfileRow = typeof profiles.$inferSelect;

export async function findProfile(db: Db, project: string, name: string): Promise<ProfileRow | undefined> {
  return db
    .select()
    .from(profiles)
    .where(and(eq(profiles.project, project), eq(profiles.name, name)))
    .get();
}

/** Null: of every project. */
export async function listProfiles(db: Db, projects: readonly string[] | null): Promise<ProfileRow[]> {
  return db
    .select()
    .from(profiles)
    .where(projects === null ? undefined : sql`${profiles.project} in ${projects}`)
    .orderBy(asc(profiles.project), asc(profiles.name))
    .all();
}

/** The project whose profiles an instance of `project` uses: its own, or `default` when it has the feature off. */
const profileProject = (project: SQL): SQL =>
  sql`case when ${project} = 'default' or exists (
      select 1 from projects p where p.name = ${project}
        and lower(coalesce(json_extract(p.config, '$."features.profiles"'), 'false')) in ('true', '1', 'yes', 'on'))
    then ${project} else 'default' end`;

export interface ProfileUser {
  /** The project of the profile, not of the instance. */
  profileProject: string;
  profile: string;
  project: string;
  instance: string;
}

/** Every use of these profiles (name null: of all in the projects; projects null: of all) in one statement. */
export async function listProfileUsers(
  db: Db,
  projects: readonly string[] | null,
  name: string | null,
): Promise<ProfileUser[]> {
  const owner = profileProject(sql`${instances.project}`);
  return db
    .select({
      profileProject: sql<string>`${owner}`.as('profile_project'),
      profile: sql<string>`used.value`.as('profile'),
      project: instances.project,
      instance: instances.name,
    })
    .from(instances)
    .innerJoin(sql`json_each(${instances.profiles}) as used`, sql`true`)
    .where(
      and(
        name === null ? undefined : sql`used.value = ${name}`,
        projects === null ? undefined : sql`${owner} in ${projects}`,
      ),
    )
    .orderBy(asc(instances.project), asc(instances.name))
    .all();
}

/** True when an instance uses the profile. */
const profileInUse = (project: string, name: string): SQL =>
  sql`exists (select 1 from instances i, json_each(i.profiles) as used
    where used.value = ${name} and ${profileProject(sql`i.project`)} = ${project})`;

/** Fails with a unique violation when the name is taken. */
export const insertProfile = (db: Db, row: ProfileRow): Statement => db.insert(profiles).values(row);

export const updateProfile = (
  db: Db,
  project: string,
  name: string,
  fields: Partial<Pick<ProfileRow, 'description' | 'config' | 'devices'>>,
): Statement =>
  db
    .update(profiles)
    .set(fields)
    .where(and(eq(profiles.project, project), eq(profiles.name, name)));

/** Instances name their profiles, so these are renamed with it. Fails with a unique violation when the name is taken. */
export const renameProfile = (db: Db, project: string, from: string, to: string): Statement[] => [
  db
    .update(instances)
    .set({
      profiles: sql`(select json_group_array(case when value = ${from} then ${to} else value end)
        from json_each(${instances.profiles}))`,
    })
    .where(
      and(
        sql`${profileProject(sql`${instances.project}`)} = ${project}`,
        sql`exists (select 1 from json_each(${instances.profiles}) where value = ${from})`,
      ),
    ),
  db
    .update(profiles)
    .set({ name: to })
    .where(and(eq(profiles.project, project), eq(profiles.name, from))),
];

/** False when an instance uses the profile: then nothing happens. */
export async function deleteUnusedProfile(
  db: Db,
  { project, name, event, now }: { project: string; name: string; event: LifecycleDraft; now: string },
): Promise<Followup & { deleted: boolean }> {
  const followup = await runPlan(db, { now, guard: sql`not ${profileInUse(project, name)}` }, (plan) => {
    plan.write(sql`delete from profiles where project = ${project} and name = ${name} and ${plan.guard}`);
    plan.event(event);
  });
  return { ...followup, deleted: followup.events.length > 0 };
}

/** What placement counts for an instance, after a profile changed its limits. */
export const setInstanceMemory = (db: Db, id: string, memoryBytes: number): Statement =>
  db.update(instances).set({ memoryBytes }).where(eq(instances.id, id));
