/**
 * Reads from a replica near by. Time never goes backwards for those who read through one `Position`: each read names how far
 * the database had come when it was last seen, and the replica waits until it has that. A replica that cannot answer so is
 * left alone for a while, and the primary asked.
 */
import type { Client } from '@libsql/client';

export type Reader = Pick<Client, 'execute' | 'batch'>;

/** How far the database has come, as its answers tell (Hrana's `replication_index`), and whether the replica is at rest. */
export interface Position {
  index: bigint;
  restUntilMs: number;
}

export const newPosition = (): Position => ({ index: 0n, restUntilMs: 0 });

/** A replica that is behind or away costs one request its deadline, then none for this long. */
const REST_MS = 2_000;

/**
 * Asks the replica, and the primary when that fails or rests, or when nobody here knows yet how far the database is: after a
 * start, a replica that is behind would show a client less than it has seen. A statement's own error comes from the primary then.
 */
export function preferReplica(
  replica: Reader,
  primary: Reader,
  position: Position,
  now: () => number = Date.now,
): Reader {
  async function route<T>(ask: (reader: Reader) => Promise<T>): Promise<T> {
    if (position.index === 0n || now() < position.restUntilMs) return await ask(primary);
    try {
      return await ask(replica);
    } catch {
      position.restUntilMs = now() + REST_MS;
      // A primary that came back from a crash may count anew: what it answers next is where the database is.
      position.index = 0n;
      return await ask(primary);
    }
  }
  return {
    execute: (...args: Parameters<Reader['execute']>) => route((reader) => reader.execute(...args)),
    batch: (...args: Parameters<Reader['batch']>) => route((reader) => reader.batch(...args)),
  };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const listOf = (value: unknown, key: string): unknown[] => {
  const list = isObject(value) ? value[key] : undefined;
  return Array.isArray(list) ? list : [];
};

/** Moves `position` to what a pipeline's answer (JSON text) says; text that says nothing moves nothing. */
export function noteIndex(position: Position, answer: string): void {
  for (const { response } of listOf(JSON.parse(answer), 'results').filter(isObject)) {
    const result = isObject(response) ? response.result : undefined;
    const index = isObject(result) ? result.replication_index : undefined;
    if (typeof index !== 'string' || !/^\d{1,19}$/.test(index)) continue;
    const seen = BigInt(index);
    if (seen > position.index) position.index = seen;
  }
}

/** A pipeline (JSON text) whose statements wait until the server has come as far as `position`. */
export function withIndex(position: Position, pipeline: string): string {
  if (position.index === 0n) return pipeline;
  const body: unknown = JSON.parse(pipeline);
  for (const request of listOf(body, 'requests').filter(isObject)) {
    for (const part of [request.stmt, request.batch].filter(isObject)) {
      part.replication_index = position.index.toString();
    }
  }
  return JSON.stringify(body);
}
