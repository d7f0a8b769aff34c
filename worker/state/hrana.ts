/**
 * libSQL over HTTP (Hrana 2), as much of a client as drizzle needs. Statements that are issued in the same turn of the event
 * loop leave in one request, in the order they came: reading two things at once costs one round trip.
 *
 * Ours rather than `@libsql/client`'s: a stream per statement and its layers cost more than half a millisecond each time.
 */
import type { Client, InStatement, ResultSet } from '@libsql/client';
import { z } from 'zod';
import { encodeStatement, StatementResult, toResultSet } from './hrana-values.ts';

export interface HranaOptions {
  url: string;
  authToken?: string;
  /** Throws what a request that was not answered means. */
  send(request: Request): Promise<Response>;
}

/** What the database says of a statement; `message` begins with its code, as `SQLITE_CONSTRAINT`. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
}

const Failure = z.object({ message: z.string(), code: z.string().nullish() });
const BatchResult = z.object({
  step_results: z.array(StatementResult.nullable()),
  step_errors: z.array(Failure.nullable()),
});
const Answer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ok'), response: z.object({ result: z.unknown().optional() }) }),
  z.object({ type: z.literal('error'), error: Failure }),
]);
const Answers = z.object({ results: z.array(Answer) });

type Ask = { type: 'execute'; stmt: unknown } | { type: 'batch'; batch: unknown };
interface Waiting {
  ask: Ask;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * Promise jobs between the first statement and the request: drizzle takes a few before it calls the client, more or fewer by
 * the kind of query.
 */
const GATHERING_JOBS = 8;

const failureOf = ({ message, code }: z.infer<typeof Failure>) =>
  new DatabaseError(code ? `${code}: ${message}` : message);

/** Opens nothing until the first statement. */
export function createHranaClient(options: HranaOptions): Client {
  const endpoint = `${options.url.replace(/^libsql:/, 'https:').replace(/\/$/, '')}/v2/pipeline`;
  const headers = {
    'content-type': 'application/json',
    ...(options.authToken === undefined ? {} : { authorization: `Bearer ${options.authToken}` }),
  };
  let waiting: Waiting[] = [];

  const request = async (asks: readonly Ask[]) => {
    const body = JSON.stringify({ requests: [...asks, { type: 'close' }] });
    const response = await options.send(new Request(endpoint, { method: 'POST', headers, body }));
    const text = await response.text();
    if (!response.ok) throw new DatabaseError(`The database answered with status ${response.status}`);
    return Answers.parse(JSON.parse(text)).results;
  };

  const flush = async () => {
    for (let job = 0; job < GATHERING_JOBS; job++) await null;
    const sent = waiting;
    waiting = [];
    try {
      const answers = await request(sent.map(({ ask }) => ask));
      for (const [index, { resolve, reject }] of sent.entries()) {
        const answer = answers[index];
        if (answer === undefined) reject(new DatabaseError('The database left a statement unanswered'));
        else if (answer.type === 'error') reject(failureOf(answer.error));
        else resolve(answer.response.result);
      }
    } catch (error) {
      for (const { reject } of sent) reject(error);
    }
  };

  const put = (ask: Ask) =>
    new Promise<unknown>((resolve, reject) => {
      waiting.push({ ask, resolve, reject });
      if (waiting.length === 1) void flush();
    });

  const unsupported = () => Promise.reject(new Error('Not supported by this client: use a batch'));
  return {
    closed: false,
    protocol: 'http',
    execute: async (statement: InStatement | string) =>
      toResultSet(StatementResult.parse(await put({ type: 'execute', stmt: encodeStatement(statement) }))),
    batch: async (statements, mode = 'deferred') =>
      readBatch(
        BatchResult.parse(await put({ type: 'batch', batch: transaction(statements, mode) })),
        statements.length,
      ),
    migrate: unsupported,
    transaction: unsupported,
    executeMultiple: unsupported,
    sync: unsupported,
    close: () => {},
    reconnect: () => {},
  };
}

const BEGIN = { read: 'BEGIN TRANSACTION READONLY', write: 'BEGIN IMMEDIATE', deferred: 'BEGIN DEFERRED' };

/** Each step runs only after the one before: all of the statements take effect, or none. */
function transaction(statements: Parameters<Client['batch']>[0], mode: keyof typeof BEGIN) {
  const after = (step: number) => ({ type: 'ok', step });
  const body = [BEGIN[mode], ...statements, 'COMMIT'].map((statement, index) => ({
    ...(index === 0 ? {} : { condition: after(index - 1) }),
    stmt: encodeStatement(statement),
  }));
  const failed = { type: 'not', cond: after(body.length - 1) };
  return { steps: [...body, { condition: failed, stmt: encodeStatement('ROLLBACK') }] };
}

/** Throws the first error: of the statement that failed, of the beginning or of the end. */
function readBatch({ step_results, step_errors }: z.infer<typeof BatchResult>, count: number): ResultSet[] {
  const failure = step_errors.slice(0, count + 2).find((error) => error !== null);
  if (failure) throw failureOf(failure);
  return step_results.slice(1, count + 1).map((result) => {
    if (result === null) throw new DatabaseError('The database left a statement unanswered');
    return toResultSet(result);
  });
}
