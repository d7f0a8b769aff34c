/** `/1.0/instances/<name>/exec` (lxd-api 7.2). */
import { InstanceExecPost } from '#protocol/api/instance.ts';
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
  }
}
