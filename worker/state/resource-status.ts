/**
 * Storage pools and networks: how the status of the whole follows from its members' rows. A pool is `Created` when it is so
 * on every member that is there (an absent one catches up later), `Errored` when a member failed before that. Once
 * `Created` it stays so: a member that fails later shows it in its own row only.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { Plan } from './plan.ts';

export type ResourceKind = 'pool' | 'network';

/** Identifiers are constants of this file, never input. */
const TABLES = {
  pool: {
    table: sql.raw('storage_pools'),
    members: sql.raw('storage_pool_members'),
    key: sql.raw('pool'),
    event: 'storage-pool',
    path: '/1.0/storage-pools/',
  },
  network: {
    table: sql.raw('networks'),
    members: sql.raw('network_members'),
    key: sql.raw('network'),
    event: 'network',
    path: '/1.0/networks/',
  },
} as const;

/** LXD reports pools and networks in the default project. */
function announce(plan: Plan, kind: ResourceKind, change: string, name: string, location: string, when: SQL): void {
  const { event, path } = TABLES[kind];
  const source = path + encodeURIComponent(name);
  plan.event({ action: `${event}-${change}`, source, project: 'default', location }, when);
}

/** Recomputes the status of the whole; the `created` event passes when this makes it `Created`. */
export function settleResource(plan: Plan, kind: ResourceKind, name: string, location: string): void {
  const { table, members, key } = TABLES[kind];
  const errored = sql`exists (select 1 from ${members} where ${key} = ${name} and status = 'Errored')`;
  const complete = sql`exists (select 1 from ${members} where ${key} = ${name} and status = 'Created')
    and not exists (select 1 from ${members} as part left join members as host on host.name = part.member
      where part.${key} = ${name} and part.status <> 'Created' and coalesce(host.online, 0) = 1)`;
  const unfinished = sql`exists (select 1 from ${table} where name = ${name} and status <> 'Created')`;
  announce(plan, kind, 'created', name, location, sql`${unfinished} and not ${errored} and ${complete}`);
  plan.write(sql`update ${table} set status = case when ${errored} then 'Errored' when ${complete} then 'Created' else status end
    where name = ${name} and status <> 'Created' and ${plan.guard}`);
}

/** What one member made of creating it: the keys the host decided, or why it could not. */
export function resourceCreated(
  plan: Plan,
  kind: ResourceKind,
  part: { name: string; member: string },
  outcome: { config: Record<string, string> } | { message: string },
): void {
  const { members, key } = TABLES[kind];
  const own = sql`${key} = ${part.name} and member = ${part.member} and ${plan.guard}`;
  if ('config' in outcome) {
    plan.write(sql`update ${members} set status = 'Created', message = '', config = json_patch(config, ${JSON.stringify(outcome.config)})
      where ${own}`);
  } else {
    plan.write(sql`update ${members} set status = 'Errored', message = ${outcome.message} where ${own}`);
  }
  settleResource(plan, kind, part.name, part.member);
}

/** What one member made of a change. What exists goes on existing when a change to it failed; the row says why. */
export function resourceUpdated(
  plan: Plan,
  kind: ResourceKind,
  part: { name: string; member: string; operationId: string | null; commandId: string },
  outcome: { config: Record<string, string> } | { message: string },
): void {
  const { members, key } = TABLES[kind];
  const own = sql`${key} = ${part.name} and member = ${part.member} and ${plan.guard}`;
  if ('message' in outcome) {
    plan.write(sql`update ${members} set message = ${outcome.message} where ${own}`);
    return;
  }
  plan.write(
    sql`update ${members} set message = '', config = json_patch(config, ${JSON.stringify(outcome.config)}) where ${own}`,
  );
  if (part.operationId === null) return;
  const last = sql`not exists (select 1 from commands where operation_id = ${part.operationId}
    and id <> ${part.commandId} and status in ('waiting', 'failed'))`;
  announce(plan, kind, 'updated', part.name, part.member, last);
}

/**
 * One member has removed it. With the last member that is there, the rows go: an absent member still has its own command
 * waiting. Nothing is removed that was defined anew meanwhile.
 */
export function resourceDeleted(
  plan: Plan,
  kind: ResourceKind,
  part: { name: string; member: string; operationId: string | null; commandId: string },
): void {
  const { table, members, key } = TABLES[kind];
  const { name, member, commandId } = part;
  const create = `${kind}.create`;
  const path = `$.${kind}.name`;
  const again = (
    at: SQL,
  ) => sql`exists (select 1 from commands as newer where newer.name = ${create} and newer.status = 'waiting'
    and newer.rowid > (select rowid from commands where id = ${commandId}) and json_extract(newer.params, ${path}) = ${name} ${at})`;
  // A member that catches up with an old removal may meet a successor that is being defined.
  const successor =
    part.operationId === null
      ? sql`exists (select 1 from ${table} where name = ${name} and status = 'Pending')`
      : sql`false`;
  const unwanted = sql`not ${again(sql``)} and not ${successor}`;
  plan.write(sql`delete from ${members} where ${key} = ${name} and member = ${member}
    and not ${again(sql`and newer.member = ${member}`)} and not ${successor} and ${plan.guard}`);
  const gone = sql`not exists (select 1 from ${members} as part join members as host on host.name = part.member
    where part.${key} = ${name} and host.online = 1)`;
  const there = sql`exists (select 1 from ${table} where name = ${name})`;
  announce(plan, kind, 'deleted', name, member, sql`${there} and ${gone} and ${unwanted}`);
  plan.write(sql`delete from ${table} where name = ${name} and ${gone} and ${unwanted} and ${plan.guard}`);
  plan.write(sql`delete from ${members} where ${key} = ${name} and not ${there} and ${plan.guard}`);
}

/** Why a removal failed, beside what is still there. */
export function resourceMessage(plan: Plan, kind: ResourceKind, part: { name: string; member: string }, text: string) {
  const { members, key } = TABLES[kind];
  plan.write(
    sql`update ${members} set message = ${text} where ${key} = ${part.name} and member = ${part.member} and ${plan.guard}`,
  );
}
