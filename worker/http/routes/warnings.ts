/** Warnings (lxd-api 5.1). */
import { WarningPut } from '#protocol/api/warning.ts';
import {
  getWarning,
  markWarning,
  removeWarning,
  warningsOf,
  warningToApi,
  warningUrl,
} from '#worker/services/warnings.ts';
import { sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/warnings/:uuid';
const common = { tag: 'warnings', answer: 'sync', access: 'admin', scope: 'server' } as const;

export function warningRoutes(app: App): void {
  route(
    app,
    { ...common, method: 'get', path: '/1.0/warnings', summary: 'Warnings' },
    async ({ ctx, request, project, recursion }) => {
      const named = new URL(request.url).searchParams.get('project');
      const rows = await warningsOf(ctx, named ? project : null);
      return sync(recursion > 0 ? rows.map(warningToApi) : rows.map(({ id }) => warningUrl(id)));
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One warning' }, async ({ ctx, params }) => {
    const row = await getWarning(ctx, params.uuid);
    return sync(warningToApi(row), { etag: await etag([row.status]) });
  });
  for (const method of ['put', 'patch'] as const) {
    route(
      app,
      { ...common, method, path, summary: 'Acknowledge a warning', body: WarningPut },
      async ({ ctx, params, body, ifMatch }) => {
        const row = await getWarning(ctx, params.uuid);
        checkIfMatch(ifMatch, await etag([row.status]));
        await markWarning(ctx, row, body.status);
        return sync();
      },
    );
  }
  route(app, { ...common, method: 'delete', path, summary: 'Forget a warning' }, async ({ ctx, params }) => {
    await removeWarning(ctx, await getWarning(ctx, params.uuid));
    return sync();
  });
}
