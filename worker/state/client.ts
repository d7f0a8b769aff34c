/** Clients of the database's servers. Every request has a deadline: the library has none of its own. */
import { createClient } from '@libsql/client/web';
import { unavailable } from '#protocol/errors.ts';
import { newPosition, noteIndex, type Position, withIndex } from './near-reader.ts';

/** What the database needs of `Env`: no platform types, so that this runs in Node too. */
export interface DbEnv {
  LIBSQL_URL: string;
  LIBSQL_AUTH_TOKEN?: string;
  DB?: Binding;
  /** Self-hosted: a queue in front of the same database, for writes. */
  DB_WRITE?: Binding;
  /** A replica near by, when there is one. */
  LIBSQL_READ_URL?: string;
  DB_READ?: Binding;
}

interface Binding {
  fetch(request: Request, init?: { signal: AbortSignal }): Promise<Response>;
}

export interface Server {
  url: string;
  binding: Binding | undefined;
  timeoutMs: number;
  /** Of the reads of this isolate; null where there is no replica. */
  position: Position | null;
  isReplica: boolean;
}

/** One for each database that is configured: what a reader here has seen once, it sees again. */
const positions = new WeakMap<DbEnv, Position>();

export function positionOf(env: DbEnv): Position | null {
  if (env.LIBSQL_READ_URL === undefined) return null;
  const position = positions.get(env) ?? newPosition();
  positions.set(env, position);
  return position;
}

export const UNAVAILABLE = 'The database is unavailable';

export type Client = ReturnType<typeof createClient>;
type Fetch = (request: Request) => Promise<Response>;

/** Opens nothing yet: requests are made by its statements. What keeps one from being answered is `unavailable`. */
export function openClient(env: DbEnv, { url, binding, timeoutMs, position, isReplica }: Server): Client {
  const transmit: Fetch = async (request) => {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await (binding === undefined ? fetch(request, { signal }) : binding.fetch(request, { signal }));
    } catch (error) {
      // Whatever kept the request from being answered: name not found, refused, cut, too slow.
      throw unavailable(UNAVAILABLE, error);
    }
  };
  const send: Fetch = async (request) => {
    if (position === null) return transmit(request);
    const { method, headers } = request;
    const text = await request.text();
    const body = isReplica ? withIndex(position, text) : text;
    const answer = await transmit(new Request(request.url, { method, headers, body }));
    if (!answer.ok) return answer;
    const results = await answer.text();
    noteIndex(position, results);
    return new Response(results, answer);
  };
  return createClient({
    url,
    ...(env.LIBSQL_AUTH_TOKEN === undefined ? {} : { authToken: env.LIBSQL_AUTH_TOKEN }),
    fetch: send,
  });
}
