/** Operations: durable, seen from everywhere, moved by their commands (`commands.ts`) or by the service that runs them. */
import { and, desc, eq, inArray, or, sql } from 'drizzle-orm';
import { notFound } from '#protocol/errors.ts';
import { CANCELLED, CANCELLING, FINAL_FROM, type FinalStatus, RUNNING } from '#worker/domain/operation.ts';
import { newId } from '#worker/lib/id.ts';
import { type Db, guardDb, type Write } from './db.ts';
import type { Followup } from './followup.ts';
import type { NewOperation, OperationRow } from './operation-row.ts';
import { runPlan } from './plan.ts';
import { commands, operations, tokens } from './schema.ts';

export {
  type ApiOperation,
  type NewOperation,
  type OperationRow,
  operationEvent,
  operationToApi,
} from './operation-row.ts';

export async function findOperation(db: Db, id: string): Promise<OperationRow | undefined> {
  return await guardDb(() => db.select().from(operations).where(eq(operations.id, id)).get());
}

/** Throws `not_found`, LXD's text. */
export async function getOperation(db: Db, id: string): Promise<OperationRow> {
  const row = await findOperation(db, id);
  if (row === undefined) throw notFound('Operation');
  return row;
}

/** Newest first. With a project: its own and those of none. Null or absent: all. */
export async function listOperations(db: Db, filter: { project?: string | null } = {}): Promise<OperationRow[]> {
  const { project } = filter;
  const scope =
    project === undefined || project === null
      ? undefined
      : or(eq(operations.project, project), eq(operations.project, ''));
  return await guardDb(() => db.select().from(operations).where(scope).orderBy(desc(operations.createdAt)));
}

/** The row that `insertOperation` writes, for callers that show it at once. */
export const operationRow = (operation: NewOperation, now: string): OperationRow => ({
  id: operation.id ?? newId(),
  project: operation.project,
  class: operation.class,
  description: operation.description,
  status: operation.status ?? RUNNING,
  resources: operation.resources,
  metadata: operation.metadata ?? null,
  mayCancel: operation.mayCancel,
  err: '',
  location: operation.location,
  createdAt: now,
  updatedAt: now,
});

export const insertOperation = (db: Db, row: OperationRow) => db.insert(operations).values(row) satisfies Write;

/** Ends an operation that no command ends. A final status stays; metadata is merged key by key, null removes. */
export async function endOperation(
  db: Db,
  id: string,
  end: { status: FinalStatus; metadata?: Record<string, unknown> | null; err?: string; now: string },
): Promise<Followup> {
  const open = sql`id = ${id} and status < ${FINAL_FROM}`;
  const patch = JSON.stringify(end.metadata ?? {});
  return await runPlan(db, { now: end.now }, (plan) => {
    plan.write(sql`update operations set status = ${end.status}, err = ${end.err ?? ''}, updated_at = ${end.now},
      metadata = case when ${patch} = '{}' then metadata else json_patch(coalesce(metadata, '{}'), ${patch}) end where ${open}`);
    plan.report(id);
  });
}

/** Merges keys into a running operation's metadata. */
export async function patchMetadata(
  db: Db,
  id: string,
  metadata: Record<string, unknown>,
  now: string,
): Promise<Followup> {
  return await runPlan(db, { now }, (plan) => {
    plan.write(sql`update operations set metadata = json_patch(coalesce(metadata, '{}'), ${JSON.stringify(metadata)}),
      updated_at = ${now} where id = ${id} and status < ${FINAL_FROM}`);
    plan.report(id);
  });
}

/** Running → Cancelling; the members' answers end it. */
export async function markCancelling(db: Db, id: string, now: string): Promise<Followup> {
  return await runPlan(db, { now }, (plan) => {
    plan.write(sql`update operations set status = ${CANCELLING}, updated_at = ${now}
      where id = ${id} and status < ${FINAL_FROM}`);
    // One that has ended meanwhile was told of by whatever ended it.
    plan.report(id, sql`exists (select 1 from operations where id = ${id} and status = ${CANCELLING})`);
  });
}

/** The member's commands that it is to stop: without a result yet, of operations that are being cancelled. */
export async function listCancelling(db: Db, member: string): Promise<string[]> {
  const rows = await guardDb(() =>
    db
      .select({ id: commands.id })
      .from(commands)
      .innerJoin(operations, eq(operations.id, commands.operationId))
      .where(and(eq(commands.member, member), eq(commands.status, 'waiting'), eq(operations.status, CANCELLING))),
  );
  return rows.map(({ id }) => id);
}

/** Cancels operations that only stood for something: a token becomes unusable in the same batch. */
export async function cancelOperations(db: Db, ids: readonly string[], now: string): Promise<Followup> {
  return await runPlan(db, { now }, (plan) => {
    for (const id of ids) {
      plan.write(sql`delete from tokens where operation_id = ${id} and used_at is null`);
      plan.write(sql`update operations set status = ${CANCELLED}, updated_at = ${now}
        where id = ${id} and status < ${FINAL_FROM}`);
      // By the statement before; one that has ended already was told of.
      plan.report(id, sql`changes() > 0`);
    }
  });
}

/** The operations of tokens whose time is over. */
export async function listExpiredTokens(db: Db, now: string): Promise<string[]> {
  const rows = await guardDb(() =>
    db
      .select({ id: tokens.operationId })
      .from(tokens)
      .innerJoin(operations, eq(operations.id, tokens.operationId))
      .where(
        sql`${tokens.expiresAt} is not null and ${tokens.expiresAt} <= ${now} and ${inArray(operations.status, [RUNNING, CANCELLING])}`,
      ),
  );
  return rows.map(({ id }) => id);
}

/** The operation that a command belongs to, for its progress. */
export async function findOperationOfCommand(
  db: Db,
  { commandId, member }: { commandId: string; member: string },
): Promise<OperationRow | undefined> {
  const owner = sql`(select operation_id from commands where id = ${commandId} and member = ${member})`;
  return await guardDb(() => db.select().from(operations).where(sql`${operations.id} = ${owner}`).get());
}
