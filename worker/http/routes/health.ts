/** For load balancers and supervisors: plain text, no credentials, nothing about the cluster. */
import { isReady } from '#worker/services/health.ts';
import { type App, route } from '../route.ts';

const common = { method: 'get', tag: 'server', answer: 'raw', access: 'secret' } as const;
const HEADERS = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };

export function healthRoutes(app: App): void {
  route(
    app,
    { ...common, path: '/healthz', summary: 'The control plane runs' },
    () => new Response('ok\n', { headers: HEADERS }),
  );
  route(app, { ...common, path: '/readyz', summary: 'The control plane reaches its database' }, async ({ ctx }) =>
    (await isReady(ctx))
      ? new Response('ok\n', { headers: HEADERS })
      : new Response('database unavailable\n', { status: 503, headers: { ...HEADERS, 'retry-after': '1' } }),
  );
}
