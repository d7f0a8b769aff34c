/** Removing a member, and everything that is recorded as being there. */
import { and, asc, eq, sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import type { Followup } from './followup.ts';
import { MEMBER_TABLES } from './member-tables.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';
import { settleResource } from './resource-status.ts';
import { commands, instances, networkMembers, storagePoolMembers, storageVolumes } from './schema.ts';

/** What keeps a member: names of instances and of custom volumes there, over all projects. */
export async function readTenants(db: Db, member: string): Promise<{ instances: string[]; volumes: string[] }> {
  const [instanceRows, volumeRows] = await guardDb(() =>
    db.batch([
      db
        .select({ name: instances.name })
        .from(instances)
        .where(eq(instances.member, member))
        .orderBy(asc(instances.name)),
      db
        .select({ name: storageVolumes.name })
        .from(storageVolumes)
        .where(eq(storageVolumes.member, member))
        .orderBy(asc(storageVolumes.name)),
    ]),
  );
  return { instances: instanceRows.map(({ name }) => name), volumes: volumeRows.map(({ name }) => name) };
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

/** The pools and networks that have a part on the member. */
async function readParts(db: Db, member: string): Promise<{ kind: 'pool' | 'network'; name: string }[]> {
  const [pools, networks] = await guardDb(() =>
    db.batch([
      db
        .select({ name: storagePoolMembers.pool })
        .from(storagePoolMembers)
        .where(eq(storagePoolMembers.member, member)),
      db.select({ name: networkMembers.network }).from(networkMembers).where(eq(networkMembers.member, member)),
    ]),
  );
  return [
    ...pools.map(({ name }) => ({ kind: 'pool' as const, name })),
    ...networks.map(({ name }) => ({ kind: 'network' as const, name })),
  ];
}

export interface Removal {
  member: string;
  /** Also with instances and volumes there, which go out of the records. */
  force: boolean;
  event: LifecycleDraft;
  now: string;
}

/**
 * One batch. The name is free afterwards; its key is remembered, so that the host is told when it comes back. Without
 * `force` the member stays while an instance or volume is there, also one placed a moment ago: then no event is answered.
 */
export async function removeMember(db: Db, { member, force, event, now }: Removal): Promise<Followup> {
  const parts = await readParts(db, member);
  const there = sql`exists (select 1 from members where name = ${member})`;
  const free = sql`not exists (select 1 from instances where member = ${member})
    and not exists (select 1 from storage_volumes where member = ${member})`;
  return await runPlan(db, { now, guard: force ? there : sql`${there} and ${free}` }, (plan) => {
    const key = sql`(select public_key from members where name = ${member})`;
    plan.write(sql`insert or ignore into former_members (name, public_key, kind, since)
      select name, public_key, 'removed', ${now} from members where name = ${member} and ${plan.guard}`);
    // Under whatever name its agent comes: it may not have learned the last one.
    plan.write(sql`update former_members set kind = 'removed', clean_up = ${force ? 0 : 1}, since = ${now}, learned_at = null
      where public_key = ${key} and ${plan.guard}`);
    plan.event(event);
    plan.write(sql`update commands set status = 'cancelled', finished_at = ${now}
      where member = ${member} and status = 'waiting' and ${plan.guard}`);
    plan.write(sql`delete from instance_placements
      where instance_id in (select id from instances where member = ${member}) and ${plan.guard}`);
    for (const { name, table } of MEMBER_TABLES) {
      if (name !== 'commands') plan.write(sql`delete from ${table} where member = ${member} and ${plan.guard}`);
    }
    // What waited for this member alone is complete without it.
    for (const { kind, name } of parts) settleResource(plan, kind, name, member);
    plan.write(sql`update warnings set status = 'resolved', last_seen_at = ${now}
      where location = ${member} and status <> 'resolved' and ${plan.guard}`);
    plan.write(
      sql`delete from server_config where substr(key, 1, ${member.length + 1}) = ${`${member}/`} and ${plan.guard}`,
    );
    plan.write(sql`delete from members where name = ${member} and ${plan.guard}`);
  });
}
