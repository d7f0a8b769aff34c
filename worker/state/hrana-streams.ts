/**
 * Streams left open at the database for the next request: opening one costs the server more than a small statement does.
 * What is kept is only their names (batons), so losing them, or sharing them between requests, costs nothing else.
 */

/** Idle ones; more are closed at once. */
const IDLE_LIMIT = 8;
/** The server drops a stream that has been idle for 10 s. */
const IDLE_LIMIT_MS = 5_000;

export interface StreamPool {
  /** A stream for one request; null: open a new one. */
  take(): string | null;
  /** True when the stream of the request that is about to leave should stay open after it. */
  mayKeep(): boolean;
  give(baton: string): void;
  /** The server does not know its streams any more. */
  clear(): void;
}

export function createStreamPool(now: () => number = Date.now): StreamPool {
  let idle: { baton: string; sinceMs: number }[] = [];
  return {
    take: () => {
      // The last one given back is the freshest.
      const last = idle.pop();
      if (last === undefined) return null;
      if (now() - last.sinceMs < IDLE_LIMIT_MS) return last.baton;
      idle = [];
      return null;
    },
    mayKeep: () => idle.length < IDLE_LIMIT,
    give: (baton) => {
      if (idle.length < IDLE_LIMIT) idle.push({ baton, sinceMs: now() });
    },
    clear: () => {
      idle = [];
    },
  };
}
