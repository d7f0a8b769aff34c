/** Cluster members: what users set, and what Links learns of them. Presence is written when it changes, never per heartbeat. */
import { asc, eq, sql } from 'drizzle-orm';
import { notFound } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import { BLOCKED_REASON } from '#worker/domain/member.ts';
import { type Db, guardDb, type Write } from './db.ts';
import { detachCommands, listDetachable } from './detach.ts';
import type { Followup } from './followup.ts';
import { adoptStatements, learnedStatement, REMOVED_WARNING } from './former-members.ts';
import { type LifecycleDraft, runPlan } from './plan.ts';
import { members } from './schema.ts';
import { OFFLINE_WARNING, resolveStatement, warningStatement } from './warnings.ts';

export type MemberRow = typeof members.$inferSelect;
export type NewMember = typeof members.$inferInsert;

export const memberUrl = (name: string): string => `/1.0/cluster/members/${encodeURIComponent(name)}`;

/** Members are nobody's project. */
const memberUpdated = (member: string, context: Record<string, string>): LifecycleDraft => ({
  action: 'cluster-member-updated',
  source: memberUrl(member),
  project: null,
  location: member,
  context,
});

export async function findMember(db: Db, name: string): Promise<MemberRow | undefined> {
  return await guardDb(() => db.select().from(members).where(eq(members.name, name)).get());
}

/** Throws `not_found`, LXD's text. */
export async function getMember(db: Db, name: string): Promise<MemberRow> {
  const row = await findMember(db, name);
  if (row === undefined) throw notFound('Cluster member');
  return row;
}

/** By name. */
export async function listMembers(db: Db): Promise<MemberRow[]> {
  return await guardDb(() => db.select().from(members).orderBy(asc(members.name)));
}

/** Fails with a unique violation when the name or the key is a member's already. */
export const insertMember = (db: Db, row: NewMember) => db.insert(members).values(row) satisfies Write;

/** What users may change: description, failure domain, roles, groups, config, state. */
export const updateMember = (
  db: Db,
  name: string,
  fields: Partial<Pick<MemberRow, 'description' | 'failureDomain' | 'roles' | 'groups' | 'config' | 'state'>>,
) => db.update(members).set(fields).where(eq(members.name, name)) satisfies Write;

/** The member's link is up: who answers there, and that it is online. An event only when it was not. */
export async function recordHello(
  db: Db,
  hello: {
    member: string;
    epoch: number;
    processId: string;
    version: string;
    protocol: number;
    resources: HostResources;
    /** Too old to be given work: it counts as offline, for a reason of its own. */
    blocked?: boolean;
    /** It had other names before, for which something may have been written meanwhile. */
    wasRenamed?: boolean;
    now: string;
  },
): Promise<Followup> {
  const { member, epoch, processId, version, protocol, resources, blocked = false, wasRenamed = false, now } = hello;
  const standing = blocked ? { online: 0, reason: BLOCKED_REASON } : { online: 1, reason: '' };
  const isNews = sql`(online <> ${standing.online} or status_reason <> ${standing.reason})`;
  const changed = sql`exists (select 1 from members where name = ${member} and ${isNews})`;
  return await runPlan(db, { now }, (plan) => {
    plan.event(memberUpdated(member, { status: blocked ? 'blocked' : 'online' }), changed);
    plan.write(sql`update members set epoch = ${epoch}, process_id = ${processId}, agent_version = ${version},
      protocol = ${protocol}, resources = ${JSON.stringify(resources)}, architecture = ${resources.architecture},
      status_changed_at = case when ${isNews} then ${now} else status_changed_at end,
      status_reason = ${standing.reason}, online = ${standing.online} where name = ${member}`);
    for (const type of [OFFLINE_WARNING, REMOVED_WARNING]) plan.write(resolveStatement(type, member, now));
    if (!wasRenamed) return;
    for (const statement of adoptStatements()) plan.write(statement);
    plan.write(learnedStatement(member, now));
  });
}

/**
 * The member is away, `since` its last sign of life. Written once per change: a second call answers nothing. Pool and network work that waited for it no
 * longer holds up anybody's operation; it stays waiting for the member. `agent`: what has come instead of the one that was there.
 */
export async function setOffline(
  db: Db,
  {
    member,
    reason,
    now,
    since = now,
    agent,
  }: { member: string; reason: string; since?: string; agent?: { version: string; protocol: number }; now: string },
): Promise<Followup> {
  const wasOnline = sql`exists (select 1 from members where name = ${member} and online = 1)`;
  const detachable = await listDetachable(db, member);
  return await runPlan(db, { now }, (plan) => {
    plan.event(memberUpdated(member, { status: 'offline', reason }), wasOnline);
    plan.write(
      warningStatement(
        {
          type: OFFLINE_WARNING,
          severity: 'low',
          location: member,
          entityUrl: memberUrl(member),
          message: reason,
          now,
        },
        wasOnline,
      ),
    );
    const version = agent && sql`, agent_version = ${agent.version}, protocol = ${agent.protocol}`;
    plan.write(sql`update members set online = 0, status_reason = ${reason}, status_changed_at = ${since}${version}
      where name = ${member} and (online = 1 or status_reason = ${BLOCKED_REASON})`);
    detachCommands(plan, member, detachable);
  });
}

/** What the host is, when it changed while connected. */
export async function setResources(db: Db, member: string, resources: HostResources): Promise<void> {
  const { architecture } = resources;
  await guardDb(() => db.update(members).set({ resources, architecture }).where(eq(members.name, member)).run());
}
