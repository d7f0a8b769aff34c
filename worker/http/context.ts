/** The real context of a request: connections are made on first use, nothing is shared between requests. */
import type { Context as HonoContext } from 'hono';
import { createBlobStore } from '#worker/blobs/index.ts';
import { type Env, parseVars } from '#worker/env.ts';
import { createLogger } from '#worker/lib/log.ts';
import { createObjects } from '#worker/objects/client.ts';
import type { Context } from '#worker/services/context.ts';
import { openDb } from '#worker/state/db.ts';
import type { AppBindings } from './route.ts';

export type { AppBindings } from './route.ts';

export function createContext(env: Env, requestId: string, looks: boolean): Context {
  const vars = parseVars(env);
  const log = createLogger(vars.logLevel, { requestId });
  return {
    db: openDb(env, log, looks),
    objects: createObjects(env, vars),
    blobs: createBlobStore(env),
    vars,
    log,
    now: () => new Date().toISOString(),
    newId: () => crypto.randomUUID(),
  };
}

/** The context that the app made for this request, for routes that are not made by `route`. */
export const buildContext = (c: HonoContext<AppBindings>): Context => c.get('ctx');
