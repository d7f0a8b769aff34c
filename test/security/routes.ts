/**
 * Every route of the app, by its own word: Hono's table says what there is, the OpenAPI registry what it takes. Nothing here
 * names a route, so that a new one cannot be left out.
 */
import { z } from 'zod';
import { createApp } from '#worker/http/app.ts';
import { describeApi } from '#worker/http/openapi.ts';

export interface RouteUnderTest {
  method: string;
  /** `/1.0/instances/{name}`. */
  path: string;
  /** `GET /1.0/instances/{name}`: how tables of this suite name it. */
  id: string;
  /** The schema of its JSON body; null when it has none, or reads its body itself. */
  body: z.ZodType | null;
  /** Names of its own query parameters. */
  query: string[];
  /** Says in the OpenAPI document that it wants no credentials. */
  declaredPublic: boolean;
  /** Not in the OpenAPI document: what agents talk to, pages. */
  undocumented: boolean;
}

interface Described {
  security?: unknown[];
  parameters?: { in: string; name: string }[];
}

export function listRoutes(): RouteUnderTest[] {
  const app = createApp();
  const paths = new Map(Object.entries(describeApi(app).paths ?? {}));
  const bodies = new Map<string, z.ZodType>();
  for (const definition of app.openAPIRegistry.definitions) {
    if (definition.type !== 'route') continue;
    const { method, path, request } = definition.route;
    const content = request?.body?.content['application/json'];
    const schema = content !== undefined && 'schema' in content ? content.schema : undefined;
    if (schema instanceof z.ZodType) bodies.set(`${method.toUpperCase()} ${path}`, schema);
  }
  const found = new Map<string, RouteUnderTest>();
  for (const { method, path: pattern } of app.routes) {
    // `ALL`: middleware, and the refusal of other methods.
    if (method === 'ALL') continue;
    const path = pattern.replace(/:(\w+)(\{[^}]*\})?/g, '{$1}');
    const id = `${method} ${path}`;
    const described = Reflect.get(paths.get(path) ?? {}, method.toLowerCase()) as Described | undefined;
    found.set(id, {
      ...{ method, path, id, body: bodies.get(id) ?? null },
      query: (described?.parameters ?? []).flatMap((parameter) => (parameter.in === 'query' ? [parameter.name] : [])),
      declaredPublic: described !== undefined && (described.security ?? []).length === 0,
      undocumented: described === undefined,
    });
  }
  return [...found.values()];
}
