/**
 * The database handle. A pure read that lost its connection is tried once more, and no error leaves with SQL or parameters in
 * its text.
 */
import type { InStatement } from '@libsql/client/web';
import type { BatchItem } from 'drizzle-orm/batch';
import type { LibSQLDatabase } from 'drizzle-orm/libsql';
import { drizzle } from 'drizzle-orm/libsql/web';
import { AppError, conflict, unavailable } from '#protocol/errors.ts';
import type { Logger } from '#worker/lib/log.ts';
import { type Client, type DbEnv, openClient, positionOf, UNAVAILABLE } from './client.ts';
import { gatherReads } from './gather.ts';
import { type Position, preferReplica, type Reader } from './near-reader.ts';

/** Wide enough for the client over HTTP and the native one that tests use. */
export type Db = LibSQLDatabase;
export type Write = BatchItem<'sqlite'>;

/** Reads are indexed and small: more than this means that the database is gone, and a client is waiting. */
const READ_TIMEOUT_MS = 3_000;
/** A replica that has not come as far as it should by now is behind: the primary answers sooner. */
const NEAR_TIMEOUT_MS = 500;
/** A write may wait for sqld's writer lock first. */
const WRITE_TIMEOUT_MS = 5_000;

const isRead = (statement: unknown): boolean => {
  const text = typeof statement === 'object' && statement !== null && 'sql' in statement ? statement.sql : statement;
  return typeof text === 'string' && /^\s*select\b/i.test(text);
};

/** Runs `attempt` again once when the connection broke. For reads only: a write may have happened. */
async function retryRead<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (!/network connection lost|fetch failed|ECONNRESET/i.test(messages(error).join('\n'))) throw error;
    return await attempt();
  }
}

/**
 * Opens the database for one request or event; costs nothing until the first statement. `log` is told of every write by
 * how many statements it has, so that what an action costs can be counted. With `near`, reads come from the replica, if one
 * is configured: for what only looks. What decides by what it reads asks the primary.
 */
export function openDb(env: DbEnv, log?: Pick<Logger, 'debug'>, near = false): Db {
  const position = positionOf(env);
  const primary = { url: env.LIBSQL_URL, binding: env.DB, position, isReplica: false };
  const reader = openClient(env, { ...primary, timeoutMs: READ_TIMEOUT_MS });
  const read = gatherReads(near ? openNear(env, reader, position) : reader);
  let writer: Client | undefined;
  const openWriter = () => {
    writer ??= openClient(env, { ...primary, binding: env.DB_WRITE ?? env.DB, timeoutMs: WRITE_TIMEOUT_MS });
    return writer;
  };
  // Drizzle calls `execute` with one statement object, and `batch`.
  const client = new Proxy(reader, {
    get(target, property) {
      if (property === 'execute') {
        return (statement: InStatement) => {
          if (isRead(statement)) return retryRead(async () => (await read([statement]))[0]);
          log?.debug('db.write', { statements: 1 });
          return openWriter().execute(statement);
        };
      }
      if (property === 'batch') {
        return (statements: InStatement[]) => {
          if (statements.every(isRead)) return retryRead(() => read(statements));
          log?.debug('db.write', { statements: statements.length });
          return openWriter().batch(statements, 'write');
        };
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  // No schema: only relational queries need it, and drizzle reads all of it each time.
  return drizzle({ client });
}

function openNear(env: DbEnv, primary: Client, position: Position | null): Reader {
  if (env.LIBSQL_READ_URL === undefined || position === null) return primary;
  const server = {
    url: env.LIBSQL_READ_URL,
    binding: env.DB_READ,
    timeoutMs: NEAR_TIMEOUT_MS,
    position,
    isReplica: true,
  };
  return preferReplica(openClient(env, server), primary, position);
}

/** The messages of an error and its causes. */
function messages(error: unknown, depth = 0): string[] {
  if (!(error instanceof Error) || depth > 5) return [];
  return [`${error.name}: ${error.message}`, ...messages(error.cause, depth + 1)];
}

/** The `AppError` that a layer in between has wrapped. */
function appErrorIn(error: unknown, depth = 0): AppError | null {
  if (error instanceof AppError) return error;
  return error instanceof Error && depth < 5 ? appErrorIn(error.cause, depth + 1) : null;
}

/** True for an entry that exists already, whatever layer wrapped the error. */
export const isUniqueViolation = (error: unknown): boolean =>
  messages(error).some((text) => /UNIQUE constraint failed|PRIMARY KEY constraint failed/.test(text));

const UNREACHABLE =
  /TimeoutError|AbortError|network connection lost|fetch failed|ECONNREFUSED|ECONNRESET|status (?:408|429|5\d\d)|SQLITE_(?:BUSY|FULL|IOERR|CANTOPEN)|database is locked|disk I\/O error|disk is full|STREAM_EXPIRED|TRANSACTION_TIMEOUT|BLOCKED|HRANA_|timed out/i;

/**
 * What a database error means to a caller: `conflict` for an entry that exists, `unavailable` for a database that did not
 * answer or has no room on its disk, else a blank `internal`. Gives an `AppError` back, whoever wrapped it. The original stays
 * as cause, for the log.
 */
export function mapDbError(error: unknown): AppError {
  const own = appErrorIn(error);
  if (own !== null) return own;
  const texts = messages(error);
  const unique = texts.map((text) => /UNIQUE constraint failed: (\w+)\./.exec(text)).find((match) => match !== null);
  if (unique) return conflict(`This "${unique[1]}" entry already exists`, error);
  if (isUniqueViolation(error)) return conflict('This entry already exists', error);
  if (texts.some((text) => UNREACHABLE.test(text))) return unavailable(UNAVAILABLE, error);
  return new AppError('internal', 'Internal error', { cause: error });
}

/** Runs one database call with its errors mapped. */
export async function guardDb<T>(call: () => PromiseLike<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw mapDbError(error);
  }
}

/** Runs all writes in one transaction: all of them or none. Throws what `mapDbError` makes of a failure. */
export async function runBatch(db: Db, writes: readonly Write[]): Promise<readonly unknown[]> {
  const [first, ...rest] = writes;
  if (first === undefined) return [];
  return await guardDb(() => db.batch([first, ...rest]));
}
