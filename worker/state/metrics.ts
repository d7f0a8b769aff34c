/** What one scrape asks the database: counts, and whose the running instances are. A batch each, to be asked at once. */
import { asc, eq, inArray, lt, ne, sql } from 'drizzle-orm';
import { FINAL_FROM } from '#worker/domain/operation.ts';
import { type Db, guardDb } from './db.ts';
import { commands, instances, members, operations, warnings, webhookQueue } from './schema.ts';

const count = sql<number>`count(*)`;

/** Members and instances of these projects; null: of all. */
export async function readInstanceFacts(db: Db, projects: readonly string[] | null) {
  const ofProjects = projects === null ? undefined : inArray(instances.project, [...projects]);
  const [memberRows, instanceRows] = await guardDb(() =>
    db.batch([
      db
        .select({
          name: members.name,
          online: members.online,
          state: members.state,
          statusReason: members.statusReason,
          statusChangedAt: members.statusChangedAt,
          epoch: members.epoch,
          agentVersion: members.agentVersion,
          protocol: members.protocol,
        })
        .from(members)
        .orderBy(asc(members.name)),
      db
        .select({
          project: instances.project,
          name: instances.name,
          type: instances.type,
          member: instances.member,
          status: instances.status,
        })
        .from(instances)
        .where(ofProjects)
        .orderBy(asc(instances.project), asc(instances.name)),
    ]),
  );
  return { members: memberRows, instances: instanceRows };
}

/** What waits and what is wrong in the control plane. */
export async function readControlFacts(db: Db) {
  const [operationRows, warningRows, commandRows, waiting, queue] = await guardDb(() =>
    db.batch([
      db
        .select({ status: operations.status, count })
        .from(operations)
        .where(lt(operations.status, FINAL_FROM))
        .groupBy(operations.status),
      db
        .select({ severity: warnings.severity, count })
        .from(warnings)
        .where(ne(warnings.status, 'resolved'))
        .groupBy(warnings.severity),
      db.select({ status: commands.status, count }).from(commands).groupBy(commands.status),
      db
        .select({ member: commands.member, count, oldestAt: sql<string>`min(${commands.createdAt})` })
        .from(commands)
        .where(eq(commands.status, 'waiting'))
        .groupBy(commands.member),
      db
        .select({ count, oldestAt: sql<string | null>`min(${webhookQueue.createdAt})` })
        .from(webhookQueue)
        .where(eq(webhookQueue.status, 'waiting')),
    ]),
  );
  const [waitingEvents] = queue;
  return {
    operations: operationRows,
    warnings: warningRows,
    commands: commandRows,
    waiting,
    webhooks: { count: waitingEvents?.count ?? 0, oldestAt: waitingEvents?.oldestAt ?? null },
  };
}
