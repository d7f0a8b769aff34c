/** `Idempotency-Key` over HTTP: which requests it is for, and answers as they are kept (extension `longshore_idempotency`). */
import type { Env } from '#worker/env.ts';
import { createSealer } from '#worker/lib/seal.ts';
import type { Authorized } from '#worker/services/context.ts';
import { answerOnce, type KeptAnswer } from '#worker/services/idempotency.ts';
import { operationToApi } from '#worker/state/operations.ts';
import { async_ } from './envelope.ts';

/** Headers that belong to an answer wherever it comes from. */
const KEPT_HEADERS = ['content-type', 'location', 'etag', 'x-content-type-options'];

export interface CreatingRequest {
  ctx: Authorized;
  env: Env;
  request: Request;
  /** As it was parsed; undefined where a handler reads it as a stream: then its headers stand for it. */
  body: unknown;
  /** What the route answers with: of an operation, the answer can be made anew. */
  isAsync: boolean;
  run: (ctx: Authorized) => Response | Promise<Response>;
}

/** The key of a request that may come again; null when it has none. */
export const idempotencyKeyOf = (request: Request): string | null => request.headers.get('idempotency-key');

/** Runs the request once for its key. A repeated answer says so in `idempotent-replayed`. */
export async function runIdempotent(key: string, creating: CreatingRequest): Promise<Response> {
  const { ctx, env, request, run } = creating;
  const { pathname, search } = new URL(request.url);
  const { answer, repeated } = await answerOnce(
    { ...ctx, sealer: createSealer(env) },
    {
      key,
      fingerprint: JSON.stringify([request.method, pathname, search, creating.body ?? describeUpload(request)]),
      run: async (own) => toKept(await run(own)),
      recover: (operation) => (creating.isAsync ? toKept(async_(operationToApi(operation))) : null),
    },
  );
  return new Response(answer.body, {
    status: answer.status,
    headers: { ...answer.headers, ...(repeated ? { 'idempotent-replayed': 'true' } : {}) },
  });
}

async function toKept(response: Response): Promise<KeptAnswer> {
  const headers = KEPT_HEADERS.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  return { status: response.status, headers: Object.fromEntries(headers), body: await response.text() };
}

/** An upload is not read twice: its length and what its headers say of it tell it from another. */
const describeUpload = ({ headers }: Request): string[] =>
  [...headers]
    .filter(([name]) => name === 'content-length' || name === 'content-type' || /^x-(lxd|incus)-/.test(name))
    .map(([name, value]) => `${name}: ${value}`)
    .sort();
