/** Reads that are asked for at the same time leave in one batch: a round trip costs the database more than a small read. */
import type { InStatement, ResultSet } from '@libsql/client';
import type { Reader } from './near-reader.ts';

interface Waiting {
  statements: readonly InStatement[];
  resolve(results: ResultSet[]): void;
  reject(error: unknown): void;
}

/** Promise jobs that pass before the batch leaves: drizzle takes a few of its own, more or fewer by the kind of query. */
const GATHERING_JOBS = 8;

/**
 * Answers each group of reads with its results. Groups of one turn share their fate: when one statement fails, all of them
 * do, with its error.
 */
export function gatherReads(client: Reader): (statements: readonly InStatement[]) => Promise<ResultSet[]> {
  let waiting: Waiting[] = [];

  const run = async (statements: readonly InStatement[]): Promise<ResultSet[]> => {
    const [only, ...more] = statements;
    return only !== undefined && more.length === 0 ? [await client.execute(only)] : await client.batch([...statements]);
  };

  const flush = async () => {
    for (let job = 0; job < GATHERING_JOBS; job++) await null;
    const sent = waiting;
    waiting = [];
    try {
      const results = await run(sent.flatMap(({ statements }) => statements));
      for (const { statements, resolve } of sent) resolve(results.splice(0, statements.length));
    } catch (error) {
      for (const { reject } of sent) reject(error);
    }
  };

  return (statements) =>
    new Promise((resolve, reject) => {
      waiting.push({ statements, resolve, reject });
      if (waiting.length === 1) void flush();
    });
}
