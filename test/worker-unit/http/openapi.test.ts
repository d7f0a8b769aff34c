import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AppError } from '#protocol/errors.ts';
import { AsyncAnswer, ErrorAnswer, SyncAnswer } from '#worker/http/answers.ts';
import { createApp } from '#worker/http/app.ts';
import { async_, created, failure, sync } from '#worker/http/envelope.ts';
import { describeApi } from '#worker/http/openapi.ts';
import { operationRow, operationToApi } from '#worker/state/operations.ts';

const Described = z.object({
  operationId: z.string(),
  summary: z.string().min(1),
  tags: z.array(z.string()).length(1),
  security: z.array(z.unknown()),
  parameters: z.array(z.object({ $ref: z.string() }).or(z.object({ name: z.string(), in: z.string() }))),
  requestBody: z.unknown().optional(),
  responses: z.record(z.string(), z.unknown()),
});

describe('the OpenAPI document', () => {
  const app = createApp();
  const document = describeApi(app);
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, unknown>).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      ...Described.parse(operation),
    })),
  );

  it('is the one in docs: run "npm run openapi" after a change of the API, and look at the difference', async () => {
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot('../../../docs/openapi.json');
  });

  it('describes every route but what agents alone talk to', () => {
    const routes = app.routes
      .filter(({ method, path }) => method !== 'ALL' && !path.startsWith('/agent/'))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`);
    const described = operations.map(({ route }) => route);
    expect(routes.filter((route) => !described.includes(route))).toEqual([]);
    expect(described.filter((route) => !routes.includes(route))).toEqual([]);
  });

  it('names each operation once, and refers to nothing that is not there', () => {
    const ids = operations.map(({ operationId }) => operationId);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
    const text = JSON.stringify(document);
    const there = Object.entries(document.components ?? {}).flatMap(([kind, components]) =>
      Object.keys(components).map((name) => `#/components/${kind}/${name}`),
    );
    const referred = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref);
    expect(referred.filter((ref) => ref !== undefined && !there.includes(ref))).toEqual([]);
  });

  it('takes every parameter of a path from the path, and describes its answers', () => {
    for (const { route, parameters, responses } of operations) {
      const inPath = parameters.flatMap((one) => ('in' in one && one.in === 'path' ? [one.name] : []));
      expect({ route, inPath }).toEqual({ route, inPath: [...route.matchAll(/\{(\w+)\}/g)].map(([, name]) => name) });
      if (route.includes(' /1.0'))
        expect({ route, answers: Object.keys(responses) }).toEqual({ route, answers: [expect.any(String), 'default'] });
    }
  });

  it('says what every request with a body reads, unless it is refused whatever it brings', () => {
    const refused = /^Refused|^No \w+ exist$|\(not available\)$|\(refused, /;
    const bare = operations
      .filter(({ route, requestBody }) => /^(POST|PUT|PATCH) /.test(route) && requestBody === undefined)
      .filter(({ summary }) => !refused.test(summary))
      .map(({ route }) => route);
    // One reads nothing; the others are forms of pages.
    expect(bare.sort()).toEqual([
      'POST /1.0/cluster/members/{name}/upgrade',
      'POST /issuer/login',
      'POST /issuer/login/decision',
    ]);
  });

  it('lists what is open to anybody: look twice before you add to it', () => {
    const open = operations.filter(({ security }) => security.length === 0).map(({ route }) => route);
    expect(open.sort()).toMatchInlineSnapshot(`
      [
        "GET /",
        "GET /1.0",
        "GET /1.0/images",
        "GET /1.0/images/aliases",
        "GET /1.0/images/aliases/{name}",
        "GET /1.0/images/{fingerprint}",
        "GET /1.0/images/{fingerprint}/export",
        "GET /1.0/operations/{id}/wait",
        "GET /1.0/operations/{id}/websocket",
        "GET /docs",
        "GET /healthz",
        "GET /issuer/.well-known/openid-configuration",
        "GET /issuer/keys",
        "GET /issuer/login",
        "GET /openapi.json",
        "GET /readyz",
        "POST /1.0/certificates",
        "POST /hooks/{id}",
        "POST /issuer/device",
        "POST /issuer/login",
        "POST /issuer/login/decision",
        "POST /issuer/token",
      ]
    `);
  });
});

describe('the envelopes', () => {
  const row = operationRow(
    {
      project: 'default',
      class: 'task',
      description: 'Creating instance',
      resources: { instances: ['/1.0/instances/c1'] },
      mayCancel: true,
      location: 'm1',
    },
    '2026-11-21T10:00:00.000Z',
  );

  it.each([
    ['sync', sync({ name: 'c1' }), SyncAnswer],
    ['sync without an object', sync(), SyncAnswer],
    ['created', created('/1.0/profiles/p'), SyncAnswer],
    ['async', async_(operationToApi(row)), AsyncAnswer],
    ['failure', failure(new AppError('not_found', 'Instance not found')), ErrorAnswer],
  ])('of %s is as the document says, to the last field', async (_kind, answer, schema) => {
    const body: unknown = await answer.json();
    expect(z.strictObject(schema.shape).parse(body)).toEqual(body);
  });
});
