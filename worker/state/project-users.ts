/** What is in a project, and changes that only an empty one takes. */
import { type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Config } from '#worker/domain/config.ts';
import { type Db, guardDb } from './db.ts';
import type { Followup } from './followup.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';

export interface ProjectUser {
  project: string;
  /** Its collection's path below `/1.0`. */
  kind: string;
  name: string;
}

const Rows = z.array(z.object({ project: z.string(), kind: z.string(), name: z.string() }));

/** Instances, profiles, images and custom volumes of the project (null: of all), and the networks, which are the default project's. */
export async function listProjectUsers(db: Db, project: string | null): Promise<ProjectUser[]> {
  const own = project === null ? sql`true` : sql`project = ${project}`;
  const networks = project === null || project === 'default' ? sql`true` : sql`false`;
  const rows = await guardDb(() =>
    db.all(sql`select project, 'instances' as kind, name from instances where ${own}
      union all select project, 'profiles', name from profiles where ${own}
      union all select project, 'images', fingerprint from images where ${own} and status = 'ready'
      union all select project, 'storage-pools/' || pool || '/volumes/custom', name from storage_volumes where ${own}
      union all select 'default', 'networks', name from networks where ${networks}`),
  );
  return Rows.parse(rows);
}

/** What may be confined to projects: their names, and null for all of them. */
const CONFINED = [sql`certificates`, sql`access_tokens`, sql`users`];

/** Its own default profile does not count. */
const isEmpty = (project: string): SQL =>
  sql`not exists (select 1 from instances where project = ${project})
    and not exists (select 1 from images where project = ${project})
    and not exists (select 1 from storage_volumes where project = ${project})
    and not exists (select 1 from profiles where project = ${project} and name <> 'default')`;

/** False when something is in the project: then nothing happens. Certificates, tokens and users confined to it lose it. */
export async function deleteEmptyProject(
  db: Db,
  { name, event, now }: { name: string; event: LifecycleDraft; now: string },
): Promise<Followup & { done: boolean }> {
  return whenEmpty(db, name, now, (plan) => {
    plan.event(event);
    for (const table of CONFINED)
      plan.write(sql`update ${table} set projects =
        (select json_group_array(value) from json_each(projects) where value <> ${name})
        where exists (select 1 from json_each(projects) where value = ${name}) and ${plan.guard}`);
    plan.write(sql`delete from projects where name = ${name} and ${plan.guard}`);
    plan.write(sql`delete from profiles where project = ${name} and ${plan.guard}`);
    for (const table of [sql`trigger_deliveries`, sql`trigger_launches`])
      plan.write(sql`delete from ${table} where trigger_id in (select id from triggers where project = ${name})
        and ${plan.guard}`);
    plan.write(sql`delete from triggers where project = ${name} and ${plan.guard}`);
    plan.write(sql`delete from webhook_queue where webhook_id in (select id from webhooks where project = ${name})
      and ${plan.guard}`);
    plan.write(sql`delete from webhooks where project = ${name} and ${plan.guard}`);
  });
}

/** False when something is in the project. Throws `conflict` when the new name is taken. */
export async function renameEmptyProject(
  db: Db,
  { name, newName, event, now }: { name: string; newName: string; event: LifecycleDraft; now: string },
): Promise<Followup & { done: boolean }> {
  return whenEmpty(db, name, now, (plan) => {
    plan.event(event);
    for (const table of CONFINED)
      plan.write(sql`update ${table} set projects =
        (select json_group_array(case when value = ${name} then ${newName} else value end) from json_each(projects))
        where exists (select 1 from json_each(projects) where value = ${name}) and ${plan.guard}`);
    plan.write(sql`update projects set name = ${newName} where name = ${name} and ${plan.guard}`);
    for (const table of [sql`profiles`, sql`triggers`, sql`webhooks`])
      plan.write(sql`update ${table} set project = ${newName} where project = ${name} and ${plan.guard}`);
  });
}

/**
 * New features for an empty project: one that gets the profiles feature gets a default profile, one that loses it loses
 * that. False when something is in it.
 */
export async function updateEmptyProject(
  db: Db,
  change: {
    name: string;
    description: string;
    config: Config;
    ownProfiles: boolean;
    event: LifecycleDraft;
    now: string;
  },
): Promise<Followup & { done: boolean }> {
  const { name, description, config, ownProfiles, event, now } = change;
  return whenEmpty(db, name, now, (plan) => {
    plan.event(event);
    plan.write(sql`update projects set description = ${description}, config = ${JSON.stringify(config)}
      where name = ${name} and ${plan.guard}`);
    plan.write(
      ownProfiles
        ? sql`insert into profiles (project, name, description, config, devices)
            select ${name}, 'default', ${defaultProfileDescription(name)}, '{}', '{}' where ${plan.guard}
            on conflict do nothing`
        : sql`delete from profiles where project = ${name} and ${plan.guard}`,
    );
  });
}

export const defaultProfileDescription = (project: string) => `Default LXD profile for project ${project}`;

async function whenEmpty(
  db: Db,
  name: string,
  now: string,
  build: Parameters<typeof runPlan>[2],
): Promise<Followup & { done: boolean }> {
  const followup = await runPlan(db, { now, guard: sql`(${isEmpty(name)})` }, build);
  return { ...followup, done: followup.events.length > 0 };
}
