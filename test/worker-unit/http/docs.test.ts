import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Env } from '#worker/env.ts';
import { addRoutes } from '#worker/http/app.ts';
import { createBase } from '#worker/http/base.ts';
import { docsPage } from '#worker/http/docs-page.ts';
import { describeApi } from '#worker/http/openapi.ts';
import { createLogger } from '#worker/lib/log.ts';
import type { Context } from '#worker/services/context.ts';

function open() {
  const log = createLogger('error', {}, () => {});
  const app = createBase(() => ({ log }) as Context);
  addRoutes(app);
  return { app, get: (path: string) => app.fetch(new Request(`https://cluster${path}`), {} as Env) };
}

describe('the API described', () => {
  it('is there for programs, for anybody', async () => {
    const { app, get } = open();
    const answer = await get('/openapi.json');
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.json()).toEqual(JSON.parse(JSON.stringify(describeApi(app))));
  });

  it('is there to read: every operation and every schema, with links that lead somewhere', async () => {
    const { app, get } = open();
    const answer = await get('/docs');
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    const text = await answer.text();
    const document = describeApi(app);
    for (const [path, methods] of Object.entries(document.paths ?? {})) {
      for (const method of Object.keys(methods)) expect(text).toContain(`>${method.toUpperCase()}</b> <code>${path}<`);
    }
    const schemas = Object.keys(document.components?.schemas ?? {});
    expect([...text.matchAll(/ id="(\w+)"/g)].map(([, name]) => name).sort()).toEqual(schemas.sort());
    const linked = new Set([...text.matchAll(/href="#(\w+)"/g)].map(([, name]) => name ?? ''));
    expect([...linked].filter((name) => !schemas.includes(name))).toEqual([]);
    expect(text).not.toContain('[object ');
    expect(text).not.toContain('undefined');
  });

  it('loads nothing, runs nothing, is framed by nobody', async () => {
    const { get } = open();
    const answer = await get('/docs');
    const policy = answer.headers.get('content-security-policy') ?? '';
    const hash = /^default-src 'none'; style-src 'sha256-([^']+)'; .*frame-ancestors 'none'$/.exec(policy)?.[1];
    const text = await answer.text();
    expect(text).not.toMatch(/<script|<link|<img|<iframe|\son\w+=|javascript:|(src|href)=.?(https?:|\/\/)/i);
    const styles = [...text.matchAll(/<style>([^<]*)<\/style>/g)].map(([, style]) => style ?? '');
    expect(styles.map((style) => createHash('sha256').update(style).digest('base64'))).toEqual([hash]);
    expect(text).not.toMatch(/\sstyle=/);
  });

  it('shows what is in the document as text, whatever it is', async () => {
    const hostile = '<script>alert(1)</script>"\'&';
    const document = {
      info: { title: hostile, description: hostile },
      paths: {
        [`/${hostile}`]: { get: { summary: hostile, tags: [hostile], responses: { 200: { description: hostile } } } },
      },
      components: {
        schemas: { Thing: z.toJSONSchema(z.object({ [hostile]: z.enum([hostile]) }).meta({ description: hostile })) },
      },
    };
    const { text } = await docsPage(document);
    expect(text).not.toContain('<script');
    expect(text).toContain('&lt;script&gt;');
  });
});
