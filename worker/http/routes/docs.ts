/** The API's description: for programs at `/openapi.json`, for people at `/docs`. */
import { docsPage } from '../docs-page.ts';
import { describeApi } from '../openapi.ts';
import { type App, route } from '../route.ts';

const common = { method: 'get', tag: 'server', answer: 'raw', access: 'secret' } as const;
/** It changes with a release. */
const CACHE = { 'cache-control': 'public, max-age=300' };

/** Made at the first request: most isolates are never asked. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** After all routes that are to be in it. */
export function docsRoutes(app: App): void {
  const document = once(() => describeApi(app));
  const text = once(() => `${JSON.stringify(document())}\n`);
  const page = once(() => docsPage(document()));
  route(
    app,
    { ...common, path: '/openapi.json', summary: 'This document', produces: 'application/json' },
    () => new Response(text(), { headers: { 'content-type': 'application/json', ...CACHE } }),
  );
  route(app, { ...common, path: '/docs', summary: 'This document, to read', produces: 'text/html' }, async () => {
    const { text: html, policy } = await page();
    const safety = { 'content-security-policy': policy, 'referrer-policy': 'no-referrer' };
    return new Response(html, { headers: { 'content-type': 'text/html; charset=utf-8', ...safety, ...CACHE } });
  });
}
