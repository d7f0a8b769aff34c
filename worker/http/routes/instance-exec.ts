/** `/1.0/instances/<name>/exec` (lxd-api 7.2) and `…/console` (7.3). */
import { InstanceConsolePost, InstanceExecPost } from '#protocol/api/instance.ts';
import { openConsole, readConsole } from '#worker/services/instance-console.ts';
import { execInstance } from '#worker/services/instance-exec.ts';
import { async_ } from '../envelope.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

export function instanceExecRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    route(
      app,
      {
        method: 'post',
        path: `/1.0/${prefix}/:name/exec` as const,
        summary: 'Run a program in an instance',
        tag: 'instances',
        body: InstanceExecPost,
        answer: 'async',
        access: 'trusted',
      },
      async ({ ctx, params, body, project }) => {
        requirePrefix(prefix);
        return async_(await execInstance(ctx, project, params.name, body));
      },
    );

    const console = { path: `/1.0/${prefix}/:name/console` as const, tag: 'instances', access: 'trusted' } as const;

    route(
      app,
      { ...console, method: 'post', summary: 'Join the console', body: InstanceConsolePost, answer: 'async' },
      async ({ ctx, params, body, project }) => {
        requirePrefix(prefix);
        return async_(await openConsole(ctx, project, params.name, body));
      },
    );

    route(
      app,
      { ...console, method: 'get', summary: 'Read what was on the console', answer: 'raw' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        const headers = { 'content-type': 'application/octet-stream', 'content-disposition': 'inline;filename=' };
        return new Response(await readConsole(ctx, project, params.name), { headers });
      },
    );
  }
}
