/**
 * How every route is made: one specification gives the path, the OpenAPI entry, the parsing and the permission check, so
 * that a handler sees only valid input from somebody who may send it.
 */
import { OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import { badRequest, forbidden, notFound } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import type { Authorized, Context } from '#worker/services/context.ts';
import { areMetricsOpen } from '#worker/services/server-config.ts';
import { findProject } from '#worker/state/projects.ts';
import { authenticate, type Caller, expectCaller, type Peer, stranger } from './auth.ts';
import { parseWith, readJson } from './body.ts';
import { describeRoute } from './describe.ts';
import { answerEarly } from './early.ts';
import { idempotencyKeyOf, runIdempotent } from './idempotent.ts';
import { demandLogin } from './oidc-challenge.ts';

export type AppBindings = { Bindings: Env; Variables: { ctx: Context; requestId: string } };
export type App = OpenAPIHono<AppBindings>;

/** Trailing slashes are tolerated, as by LXD. */
export const newApp = (): App => new OpenAPIHono<AppBindings>({ strict: false });

type Method = 'get' | 'head' | 'post' | 'put' | 'patch' | 'delete';

/** The `:name` parts of a path; a Hono pattern in braces after the name is no part of it. */
type Names<P extends string> = P extends `${string}:${infer Segment}/${infer Rest}`
  ? Bare<Segment> | Names<`/${Rest}`>
  : P extends `${string}:${infer Segment}`
    ? Bare<Segment>
    : never;
type Bare<S extends string> = S extends `${infer Name}{${string}` ? Name : S;

type NoQuery = z.ZodObject<Record<never, never>>;

export interface RouteSpec<P extends string, Q extends z.ZodObject, B extends z.ZodType> {
  method: Method | Uppercase<Method>;
  path: P;
  summary: string;
  tag: string;
  /** Empty parameters count as absent; of repeated ones the first counts. */
  query?: Q;
  /** Absent: the body is left alone, for the handler to read from `request`. */
  body?: B;
  /** What such a handler reads, for the document: media type → schema, or in words. */
  reads?: Readonly<Record<string, z.ZodType | string>>;
  /** A `GET` with `sync` changes nothing anywhere: it may be run for a caller who then gets no answer. */
  answer: 'sync' | 'created' | 'async' | 'raw' | 'websocket';
  /** Media type of a `raw` answer, where there is but one. */
  produces?: string;
  /**
   * `public`: anyone. `secret`: anyone, and who it is does not matter (nor is it looked up): the handler checks a secret.
   * `trusted`: who may use the project. `admin`: callers without a restriction. `metrics`: the trusted, who has a credential
   * for metrics, and anyone while `core.metrics_authentication` is false.
   */
  access: 'public' | 'secret' | 'trusted' | 'admin' | 'metrics';
  /**
   * Who may only look gets no further than `GET` and `HEAD`, wherever it is asked who calls. Said of one by which its caller
   * can change something, as through a connection.
   */
  changes?: true;
  /** `server`: not part of a project, so `?project=` has no meaning and the handler filters by `principal.projects`. */
  scope?: 'project' | 'server';
  /** The handler goes by `projects`: of all projects, a caller who may not use all gets its own. Elsewhere it must name one. */
  lists?: true;
}

export interface RouteInput<P extends string, Q extends z.ZodObject, B extends z.ZodType> {
  ctx: Authorized;
  params: { [N in Names<P>]: string };
  query: z.infer<Q>;
  body: z.infer<B>;
  request: Request;
  env: Env;
  /** Of `?project=`, `default` when absent. It exists, unless the route is public. */
  project: string;
  /** What a list may show: null is every project (`all-projects` by an unrestricted caller). */
  projects: string[] | null;
  target: string | null;
  recursion: number;
  ifMatch: string | null;
  /** Only interesting on public routes: false for untrusted callers and for `?public`. */
  trusted: boolean;
  /** The caller has a certificate or token for metrics. */
  metrics: boolean;
  /** Only interesting with `access: 'metrics'`: whose instances the caller may see figures of; null: everybody's. */
  watches: readonly string[] | null;
  /** The caller may only look: what opens more than that is not for it to see. */
  readOnly: boolean;
  peer: Peer | null;
}

/** Registers the route in the app and in its OpenAPI document. */
export function route<P extends string, Q extends z.ZodObject = NoQuery, B extends z.ZodType = z.ZodUndefined>(
  app: App,
  spec: RouteSpec<P, Q, B>,
  handler: (input: RouteInput<P, Q, B>) => Response | Promise<Response>,
): void {
  const names = [...spec.path.matchAll(/:(\w+)/g)].flatMap(([, name]) => (name === undefined ? [] : [name]));
  const Params = z.object(Object.fromEntries(names.map((name) => [name, z.string()])));
  describeRoute(app, spec, Params);
  const isCreating = spec.method.toLowerCase() === 'post' && (spec.answer === 'created' || spec.answer === 'async');

  app.on(spec.method.toUpperCase(), spec.path, async (c) => {
    const request = c.req.raw;
    const search = new URL(request.url).searchParams;
    const shared = c.get('ctx');
    const answer = async (caller: Caller): Promise<Response> => {
      const ctx: Authorized = { ...shared, principal: caller.principal };
      const scope = readScope(search, caller);
      await checkAccess(ctx, spec, caller, scope);
      const query = parseWith(spec.query ?? z.object({}), readQuery(search)) as z.infer<Q>;
      const sent = spec.body === undefined ? undefined : await readJson(request);
      const body = spec.body === undefined ? undefined : parseWith(spec.body, sent);
      const run = (own: Authorized) =>
        handler({
          ctx: own,
          params: Params.parse(c.req.param()) as { [N in Names<P>]: string },
          query,
          body: body as z.infer<B>,
          request,
          env: c.env,
          project: scope.project,
          projects: scope.projects,
          target: search.get('target') || null,
          recursion: readRecursion(search),
          ifMatch: request.headers.get('if-match'),
          trusted: caller.trusted && !(spec.access === 'public' && search.has('public')),
          metrics: caller.metrics,
          watches: watchesOf(caller),
          readOnly: caller.readOnly,
          peer: caller.peer,
        });
      const key = isCreating && caller.trusted ? idempotencyKeyOf(request) : null;
      if (key === null) return run(ctx);
      return runIdempotent(key, { ctx, env: c.env, request, body: sent, isAsync: spec.answer === 'async', run });
    };
    const onlyReads = spec.method.toLowerCase() === 'get' && spec.answer === 'sync';
    const expected = onlyReads ? expectCaller(request, c.env) : null;
    const known =
      spec.access === 'secret'
        ? Promise.resolve(stranger(request))
        : authenticate(request, c.env, shared).then((caller) => demandLogin(shared, request, caller));
    return answerEarly(expected, known, answer);
  });
}

interface Scope {
  project: string;
  all: boolean;
  projects: string[] | null;
}

function readScope(search: URLSearchParams, caller: Caller): Scope {
  const named = search.get('project') || null;
  const all = ['true', '1'].includes(search.get('all-projects') ?? '');
  if (all && named !== null) throw badRequest('Cannot specify a project when requesting all projects');
  const project = named ?? 'default';
  return { project, all, projects: all ? caller.principal.projects : [project] };
}

const LOOKING = new Set(['get', 'head']);

/** The project of a request must be the caller's and exist; one unknown to a restricted caller is forbidden, not missing. */
async function checkAccess(
  ctx: Authorized,
  {
    access,
    scope: of,
    ...spec
  }: Pick<RouteSpec<string, z.ZodObject, z.ZodType>, 'access' | 'scope' | 'method' | 'changes' | 'lists'>,
  caller: Caller,
  scope: Scope,
): Promise<void> {
  if (caller.readOnly && (spec.changes || !LOOKING.has(spec.method.toLowerCase()))) throw forbidden();
  if (access === 'public' || access === 'secret') return;
  if (access === 'metrics' && (caller.metrics || (!caller.trusted && (await areMetricsOpen(ctx))))) return;
  if (!caller.trusted) throw forbidden();
  const { projects } = ctx.principal;
  if (access === 'admin' && projects !== null) throw forbidden();
  if (of === 'server') return;
  if (projects !== null && !(scope.all && spec.lists) && !projects.includes(scope.project)) throw forbidden();
  if (scope.project !== 'default' && (await findProject(ctx.db, scope.project)) === undefined) {
    throw notFound('Project');
  }
}

/** Who is nobody got here only because metrics are for all. */
const watchesOf = ({ trusted, metrics, watches = null, principal }: Caller): readonly string[] | null =>
  trusted ? principal.projects : metrics ? watches : null;

function readQuery(search: URLSearchParams): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [key, value] of search) {
    if (value !== '' && !Object.hasOwn(query, key)) query[key] = value;
  }
  return query;
}

function readRecursion(search: URLSearchParams): number {
  const value = Number(search.get('recursion') ?? '0');
  return Number.isInteger(value) && value > 0 ? value : 0;
}
