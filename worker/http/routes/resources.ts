/** Hardware of a member (lxd-api 5.1). */
import { describeResources } from '#worker/services/resources.ts';
import { sync } from '../envelope.ts';
import { type App, route } from '../route.ts';

export function resourceRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/1.0/resources',
      summary: "A member's hardware",
      tag: 'server',
      answer: 'sync',
      access: 'trusted',
      scope: 'server',
    },
    async ({ ctx, target }) => sync(await describeResources(ctx, target)),
  );
}
