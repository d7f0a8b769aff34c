import { describe, expect, it } from 'vitest';
import { API_EXTENSIONS } from '#worker/domain/api-extensions.ts';
import { createApp } from '#worker/http/app.ts';
import { describeApi } from '#worker/http/openapi.ts';

describe('the OpenAPI document', () => {
  const document = describeApi(createApp());

  it('is the one in docs: run "npm run openapi" after a change of the API, and look at the difference', async () => {
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot('../../../docs/openapi.json');
  });

  it('describes every route', () => {
    const routes = createApp()
      .routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/1.0'))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`);
    const described = Object.entries(document.paths ?? {}).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    for (const route of routes) expect(described).toContain(route);
  });

  it('announces no extension that would change how clients behave without being there', () => {
    for (const name of ['storage_and_profile_operations', 'explicit_trust_token']) {
      expect(API_EXTENSIONS).not.toContain(name);
    }
    expect(new Set(API_EXTENSIONS).size).toBe(API_EXTENSIONS.length);
  });
});
