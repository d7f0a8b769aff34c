/** `/1.0/instances/<name>/state`, and the same for all instances of a project. */
import { InstanceStatePut, InstancesPut } from '#protocol/api/instance.ts';
import { badRequest } from '#protocol/errors.ts';
import { changeAllStates, changeState } from '#worker/services/instance-state.ts';
import { getInstanceState } from '#worker/services/instances.ts';
import { async_, sync } from '../envelope.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

export function instanceStateRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    const path = `/1.0/${prefix}/:name/state` as const;
    const shared = { tag: 'instances', access: 'trusted' } as const;

    route(
      app,
      { ...shared, method: 'get', path, summary: 'Runtime state', answer: 'sync' },
      async ({ ctx, params, project }) => {
        requirePrefix(prefix);
        return sync(await getInstanceState(ctx, project, params.name));
      },
    );

    route(
      app,
      { ...shared, method: 'put', path, summary: 'Start, stop, …', body: InstanceStatePut, answer: 'async' },
      async ({ ctx, params, body, project }) => {
        requirePrefix(prefix);
        return async_(await changeState(ctx, project, params.name, body));
      },
    );

    route(
      app,
      {
        ...shared,
        method: 'put',
        path: `/1.0/${prefix}` as const,
        summary: 'Start, stop, … all instances',
        body: InstancesPut,
        answer: 'async',
      },
      async ({ ctx, body, project }) => {
        requirePrefix(prefix);
        if (body.state === null) throw badRequest('No state provided');
        return async_(await changeAllStates(ctx, project, body.state));
      },
    );
  }
}
