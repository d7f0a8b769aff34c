/** `/1.0/instances/<name>/logs`, and what else is only read of an instance: its image's metadata, why it is where it is. */
import { deleteLog, listLogs, readLog } from '#worker/services/instance-logs.ts';
import { getPlacement } from '#worker/services/instance-placement.ts';
import { getInstanceMetadata } from '#worker/services/instances.ts';
import { sync } from '../envelope.ts';
import { etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

export function instanceLogRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    const logs = `/1.0/${prefix}/:name/logs` as const;
    const shared = { tag: 'instances', access: 'trusted' } as const;

    route(
      app,
      { ...shared, method: 'get', path: logs, summary: 'List logs', answer: 'sync' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        return sync(await listLogs(ctx, project, params.name));
      },
    );

    route(
      app,
      { ...shared, method: 'get', path: `${logs}/:file`, summary: 'Read the end of a log', answer: 'raw' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        const text = await readLog(ctx, project, params.name, params.file);
        const headers = {
          'content-type': 'application/octet-stream',
          'content-disposition': `inline;filename=${params.file}`,
        };
        return new Response(text, { headers });
      },
    );

    route(
      app,
      { ...shared, method: 'delete', path: `${logs}/:file`, summary: 'Delete a log', answer: 'sync' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        await deleteLog(ctx, project, params.name, params.file);
        return sync();
      },
    );

    route(
      app,
      { ...shared, method: 'get', path: `/1.0/${prefix}/:name/metadata`, summary: 'Image metadata', answer: 'sync' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        const metadata = await getInstanceMetadata(ctx, project, params.name);
        return sync(metadata, { etag: await etag(metadata) });
      },
    );

    route(
      app,
      {
        ...shared,
        method: 'get',
        path: `/1.0/${prefix}/:name/placement`,
        summary: 'Explain placement',
        answer: 'sync',
      },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        return sync(await getPlacement(ctx, project, params.name));
      },
    );
  }
}
