/** The server itself: `/` and `/1.0` (lxd-api 4). */
import { ServerPut } from '#protocol/api/server.ts';
import { describeServer, describeToUntrusted } from '#worker/services/server.ts';
import { getServerConfig, localScope, updateServerConfig } from '#worker/services/server-config.ts';
import { sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

export function serverRoutes(app: App): void {
  route(
    app,
    { method: 'get', path: '/', summary: 'API versions', tag: 'server', answer: 'sync', access: 'public' },
    () => sync(['/1.0']),
  );
  route(
    app,
    { method: 'get', path: '/1.0', summary: 'Server and environment', tag: 'server', answer: 'sync', access: 'public' },
    async ({ ctx, trusted, target, project }) => {
      if (!trusted) return sync(await describeToUntrusted(ctx));
      const server = await describeServer(ctx, await localScope(ctx, target), project);
      return sync(server, { etag: await etag(server.config) });
    },
  );
  for (const method of ['put', 'patch'] as const) {
    route(
      app,
      {
        method,
        path: '/1.0',
        summary: method === 'put' ? 'Replace the configuration' : 'Change the configuration',
        tag: 'server',
        body: ServerPut,
        answer: 'sync',
        access: 'admin',
      },
      async ({ ctx, body, target, ifMatch }) => {
        const scope = await localScope(ctx, target);
        if (ifMatch !== null) checkIfMatch(ifMatch, await etag(await getServerConfig(ctx, scope)));
        await updateServerConfig(ctx, scope, body.config, method === 'put' ? 'replace' : 'merge');
        return sync();
      },
    );
  }
}
