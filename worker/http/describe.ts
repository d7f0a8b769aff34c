/**
 * The OpenAPI entry of a route, made from the very specification that it is parsed and guarded by. What every route takes in
 * the same way stands once among the components, and is referred to.
 */
import type { z } from 'zod';
import type { App, RouteSpec } from './route.ts';

type Spec = RouteSpec<string, z.ZodObject, z.ZodType>;

const query = (name: string, type: 'string' | 'integer' | 'boolean', description: string) => ({
  name,
  in: 'query' as const,
  required: false,
  description,
  schema: { type },
});
const header = (name: string, description: string) => ({
  name,
  in: 'header' as const,
  required: false,
  description,
  schema: { type: 'string' as const },
});

/** Parameters of many routes. */
export const SHARED_PARAMETERS = {
  project: query('project', 'string', 'The project that is meant; "default" when absent'),
  allProjects: query('all-projects', 'boolean', "Of all projects that the caller may use; not together with 'project'"),
  recursion: query('recursion', 'integer', '0: URLs; 1: the objects; 2: with all that belongs to them'),
  target: query('target', 'string', 'The cluster member that is meant, where it matters'),
  ifMatch: header('If-Match', 'An ETag: refused with 412 when the object has changed since'),
  idempotencyKey: header('Idempotency-Key', 'A request that comes again with its key gets the first answer again'),
};

const location = {
  Location: { description: 'Of the object, or of the operation', schema: { type: 'string' as const } },
};
const ofSchema = (name: string) => ({
  content: { 'application/json': { schema: { $ref: `#/components/schemas/${name}` } } },
});

/** Answers of many routes; their schemas are in `answers.ts`. */
export const SHARED_ANSWERS = {
  Done: { description: 'Done', ...ofSchema('SyncAnswer') },
  Created: { description: 'Created', headers: location, ...ofSchema('SyncAnswer') },
  Begun: { description: 'Begun', headers: location, ...ofSchema('AsyncAnswer') },
  Failed: { description: 'Refused or failed', ...ofSchema('ErrorAnswer') },
};

const answer = (name: keyof typeof SHARED_ANSWERS) => ({ $ref: `#/components/responses/${name}` });

const ACCESS: Record<Spec['access'], string> = {
  public: 'Anybody; who is trusted gets more.',
  secret: 'Anybody: credentials of TLS and bearer tokens do not matter here.',
  trusted: 'Trusted callers; restricted ones in their projects.',
  admin: 'Trusted callers without a restriction.',
  metrics: 'Trusted callers, credentials for metrics, and anybody while core.metrics_authentication is false.',
};

/** Registers the route in the app's OpenAPI document. */
export function describeRoute(app: App, spec: Spec, params: z.ZodObject): void {
  const path = spec.path.replace(/:(\w+)(\{[^}]*\})?/g, '{$1}');
  const method = spec.method.toLowerCase() as Lowercase<Spec['method']>;
  app.openAPIRegistry.registerPath({
    method,
    path,
    operationId: operationIdOf(method, path),
    summary: spec.summary,
    description: ACCESS[spec.access],
    tags: [spec.tag],
    security: ['public', 'secret'].includes(spec.access) ? [] : [{ tls: [] }, { bearer: [] }],
    parameters: sharedOf(spec, path).map((name) => ({ $ref: `#/components/parameters/${name}` })),
    request: {
      params,
      ...(spec.query === undefined ? {} : { query: spec.query }),
      ...bodyOf(spec),
    },
    responses: answersOf(spec, path),
  });
}

function bodyOf({ body, reads = {} }: Spec) {
  const bodies = Object.entries(body === undefined ? reads : { ...reads, 'application/json': body });
  const content = bodies.map(([type, schema]) => [
    type,
    { schema: typeof schema === 'string' ? { description: schema } : schema },
  ]);
  return bodies.length === 0 ? {} : { body: { content: Object.fromEntries(content) } };
}

/** `get /1.0/instances/{name}/state` → `getInstancesNameState`. */
function operationIdOf(method: string, path: string): string {
  const words = path.split(/[^A-Za-z]+/).filter(Boolean);
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  return method + (name || (path === '/' ? 'Versions' : 'Server'));
}

function sharedOf(spec: Spec, path: string): (keyof typeof SHARED_PARAMETERS)[] {
  if (spec.access === 'secret' || !path.startsWith('/1.0')) return [];
  const own = Object.keys(spec.query?.shape ?? {});
  const method = spec.method.toLowerCase();
  const inProject = spec.scope !== 'server';
  const taken: [keyof typeof SHARED_PARAMETERS, boolean][] = [
    ['project', inProject && !own.includes('project')],
    ['allProjects', inProject && spec.lists === true],
    ['recursion', method === 'get' && spec.answer === 'sync' && !own.includes('recursion')],
    ['target', !own.includes('target')],
    ['ifMatch', method === 'put' || method === 'patch'],
    ['idempotencyKey', method === 'post' && (spec.answer === 'created' || spec.answer === 'async')],
  ];
  return taken.flatMap(([name, isTaken]) => (isTaken ? [name] : []));
}

function answersOf(spec: Spec, path: string) {
  const failures = { default: answer('Failed') };
  switch (spec.answer) {
    case 'sync':
      return { 200: answer('Done'), ...failures };
    case 'created':
      return { 201: answer('Created'), ...failures };
    case 'async':
      return { 202: answer('Begun'), ...failures };
    case 'websocket':
      return { 101: { description: 'A websocket' }, ...failures };
    case 'raw': {
      const content = { [spec.produces ?? '*/*']: { schema: {} } };
      // What is not under /1.0 speaks the tongue of who asks: probes, browsers, OAuth clients.
      return { 200: { description: 'The content', content }, ...(path.startsWith('/1.0') ? failures : {}) };
    }
  }
}
