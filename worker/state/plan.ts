/**
 * A plan: the statements of one atomic batch, some of which answer rows that make the follow-up.
 *
 * Every statement carries the plan's guard in its own WHERE, so a batch whose first statement claimed nothing (a result that
 * came twice, a change that somebody else made) writes nothing and answers an empty follow-up. Events and commands are
 * written by `INSERT … SELECT … WHERE`, hence exactly when their condition holds inside the transaction.
 */
import { type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import { parseCommand } from '#protocol/commands.ts';
import { RUNNING } from '#worker/domain/operation.ts';
import { newId } from '#worker/lib/id.ts';
import type { ClusterEvent, NewCommand } from '#worker/objects/contract.ts';
import { type Db, guardDb } from './db.ts';
import { type Followup, mergeFollowups } from './followup.ts';
import { type NewOperation, OperationRecord, operationEvent } from './operation-row.ts';

/** A lifecycle event before it is written. */
export interface LifecycleDraft {
  action: string;
  /** `/1.0/…`, without project. */
  source: string;
  /** Null: every listener gets it. */
  project: string | null;
  location: string;
  context?: Record<string, unknown>;
  requestor?: Record<string, string>;
  /** When it happened, when that was before now. */
  at?: string;
}

export interface Plan {
  /** Adds a statement; it must contain `plan.guard` in its WHERE. */
  write(statement: SQL): void;
  /** A lifecycle event, written when the guard and `when` hold at this place of the batch. */
  event(draft: LifecycleDraft, when?: SQL): void;
  /** A command, written and to be delivered when the guard and `when` hold. `operationId` null: it only converges the member. */
  command(command: NewCommand, operationId: string | null, when?: SQL): void;
  /** A running operation without a caller, written when the guard and `when` hold. Answers its id. */
  operation(operation: NewOperation, when?: SQL): string;
  /** Answers the operation as it is at this place of the batch, for an operation event. */
  report(operationId: SQL | string, when?: SQL): void;
  readonly guard: SQL;
  readonly now: string;
}

type Statement = { kind: 'write' | 'event' | 'command' | 'operation'; statement: SQL };

const EventRecord = z.object({
  seq: z.number(),
  project: z.string().nullable(),
  location: z.string(),
  timestamp: z.string(),
  metadata: z.string().transform((text) => z.record(z.string(), z.unknown()).parse(JSON.parse(text))),
});
const CommandRecord = z.object({
  id: z.string(),
  operation_id: z.string().nullable(),
  member: z.string(),
  name: z.string(),
  params: z.string(),
  created_at: z.string(),
});
const Rows = z.array(z.unknown());

function eventOf(row: unknown): ClusterEvent {
  const { seq, project, ...event } = EventRecord.parse(row);
  return { type: 'lifecycle', id: seq, ...event, ...(project === null ? {} : { project }) };
}

function deliveryOf(row: unknown): Followup['deliveries'][number] {
  const { id, name, member, ...rest } = CommandRecord.parse(row);
  const command = parseCommand({ id, name, params: JSON.parse(rest.params) });
  return { member, orders: [{ ...command, operationId: rest.operation_id, createdAt: rest.created_at }] };
}

/**
 * Lets `build` add statements, runs them in one transaction, and answers what came of them.
 * Throws what `mapDbError` makes of a failure; then nothing is written.
 */
export async function runPlan(db: Db, options: { now: string; guard?: SQL }, build: (plan: Plan) => void) {
  const { now } = options;
  const guard = options.guard ?? sql`true`;
  const statements: Statement[] = [];
  const add = (kind: Statement['kind'], statement: SQL) => {
    statements.push({ kind, statement });
  };
  build({
    now,
    guard,
    write: (statement) => add('write', statement),
    event: (draft, when = sql`true`) => add('event', insertEvent(draft, now, sql`${guard} and ${when}`)),
    command: (command, operationId, when = sql`true`) =>
      add('command', insertCommand(command, operationId, now, sql`${guard} and ${when}`)),
    operation: (operation, when = sql`true`) => {
      const id = operation.id ?? newId();
      add('operation', insertOperation({ ...operation, id }, now, sql`${guard} and ${when}`));
      return id;
    },
    report: (operationId, when = sql`true`) =>
      add('operation', sql`select * from operations where id = ${operationId} and ${guard} and ${when}`),
  });
  const [first, ...rest] = statements.map(({ statement }) => db.all<unknown>(statement));
  if (first === undefined) return mergeFollowups([]);
  const answers = await guardDb(() => db.batch([first, ...rest]));
  return mergeFollowups(statements.map(({ kind }, index) => followupOf(kind, Rows.parse(answers[index]))));
}

function followupOf(kind: Statement['kind'], rows: unknown[]): Followup {
  switch (kind) {
    case 'write':
      return { events: [], deliveries: [] };
    case 'event':
      return { events: rows.map(eventOf), deliveries: [] };
    case 'command':
      return { events: [], deliveries: rows.map(deliveryOf) };
    case 'operation':
      return { events: rows.map((row) => operationEvent(OperationRecord.parse(row))), deliveries: [] };
  }
}

function insertEvent(draft: LifecycleDraft, now: string, when: SQL): SQL {
  const { project, location, at = now, ...metadata } = draft;
  return sql`insert into events (project, location, timestamp, metadata)
    select ${project}, ${location}, ${at}, ${JSON.stringify(metadata)} where ${when}
    returning seq, project, location, timestamp, metadata`;
}

function insertCommand(command: NewCommand, operationId: string | null, now: string, when: SQL): SQL {
  return sql`insert into commands (id, operation_id, member, name, params, status, error, created_at)
    select ${newId()}, ${operationId}, ${command.member}, ${command.name}, ${JSON.stringify(command.params)}, 'waiting', '', ${now}
    where ${when} returning id, operation_id, member, name, params, created_at`;
}

function insertOperation(operation: NewOperation & { id: string }, now: string, when: SQL): SQL {
  const { id, project, class: kind, description, location, status = RUNNING } = operation;
  const resources = operation.resources === null ? null : JSON.stringify(operation.resources);
  const metadata = operation.metadata ? JSON.stringify(operation.metadata) : null;
  return sql`insert into operations (id, project, class, description, status, resources, metadata, may_cancel, err, location, created_at, updated_at)
    select ${id}, ${project}, ${kind}, ${description}, ${status}, ${resources}, ${metadata}, ${operation.mayCancel ? 1 : 0}, '', ${location}, ${now}, ${now}
    where ${when} returning *`;
}
