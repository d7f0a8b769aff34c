/** The app without its routes: the request's context, error answers, and what no route takes. */
import { AppError } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import type { Context } from '#worker/services/context.ts';
import { failure } from './envelope.ts';
import { errorResponse } from './errors.ts';
import { isOfApi, tellHowToLogIn } from './oidc-challenge.ts';
import { type App, newApp } from './route.ts';

/** Makes the context of one request; `looks` when it changes nothing. The real one is in `context.ts`. */
export type ContextFactory = (env: Env, requestId: string, looks: boolean) => Context;

const LOOKING = new Set(['GET', 'HEAD']);

export function createBase(createContext: ContextFactory): App {
  const app = newApp();
  app.use(async (c, next) => {
    const requestId = crypto.randomUUID();
    c.set('requestId', requestId);
    const { method, path } = c.req;
    const looks = LOOKING.has(method);
    const ctx = createContext(c.env, requestId, looks);
    c.set('ctx', ctx);
    const startedMs = Date.now();
    await next();
    // What only looks is much and changes nothing. Queries are left out: they may carry secrets of streams.
    const answered = { method, path, status: c.res.status, durationMs: Date.now() - startedMs };
    ctx.log[looks ? 'debug' : 'info']('http.answered', answered);
    if ([401, 403].includes(c.res.status) && isOfApi(path)) {
      await tellHowToLogIn(ctx, c.req.raw, c.res.headers);
    }
    // An upgrade's answer belongs to the runtime: its headers are not ours to change.
    if (c.res.status === 101) return;
    if (!c.res.headers.has('x-content-type-options')) c.header('x-content-type-options', 'nosniff');
    // What a person tells of a request that went wrong is found in the log by it.
    c.header('x-request-id', requestId);
  });
  app.onError((error, c) => errorResponse(error, c.get('ctx').log, c.get('requestId')));
  app.notFound(() => failure(new AppError('not_found', 'not found')));
  return app;
}

/** After all routes: a known path with a method it has not answers as LXD does, 501 rather than 404. */
export function refuseOtherMethods(app: App): void {
  const paths = new Set(app.routes.filter(({ path }) => !path.includes('*')).map(({ path }) => path));
  for (const path of paths) {
    app.all(path, () => failure(new AppError('not_implemented', 'not implemented')));
  }
}
