/**
 * What an absent member must not hold up: creating, changing and removing pools and networks. Such commands leave their
 * operation and only converge the member when it returns; the operation ends by the members that are there.
 */
import { and, eq, inArray, sql } from 'drizzle-orm';
import { parseCommand } from '#protocol/commands.ts';
import { type Db, guardDb } from './db.ts';
import { settleOperation } from './operation-status.ts';
import type { Plan } from './plan.ts';
import { type ResourceKind, settleResource } from './resource-status.ts';
import { commands } from './schema.ts';

const DETACHABLE = ['pool.create', 'pool.update', 'pool.delete', 'network.create', 'network.update', 'network.delete'];

export interface Detachable {
  operations: string[];
  /** Resources whose creation waits for the member. */
  creating: { kind: ResourceKind; name: string }[];
}

/** Operations and resources that wait for such commands of the member. */
export async function listDetachable(db: Db, member: string): Promise<Detachable> {
  const rows = await guardDb(() =>
    db
      .select()
      .from(commands)
      .where(and(eq(commands.member, member), eq(commands.status, 'waiting'), inArray(commands.name, [...DETACHABLE]))),
  );
  const operations = rows.flatMap((row) => (row.operationId === null ? [] : [row.operationId]));
  const creating = rows.flatMap((row): Detachable['creating'] => {
    const command = parseCommand(row);
    if (command.name === 'pool.create') return [{ kind: 'pool', name: command.params.pool.name }];
    return command.name === 'network.create' ? [{ kind: 'network', name: command.params.network.name }] : [];
  });
  return { operations: [...new Set(operations)], creating };
}

/** To follow the statement that says the member is offline. */
export function detachCommands(plan: Plan, member: string, { operations, creating }: Detachable): void {
  for (const operationId of operations) {
    plan.write(sql`update commands set operation_id = null where operation_id = ${operationId} and member = ${member}
      and status = 'waiting' and name in ${DETACHABLE} and ${plan.guard}`);
    settleOperation(plan, operationId);
  }
  for (const { kind, name } of creating) settleResource(plan, kind, name, member);
}
