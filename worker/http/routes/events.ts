/** The events websocket: how clients wait for operations (lxd-api 3.3). */
import { EventsQuery } from '#protocol/api/operation.ts';
import { badRequest, forbidden } from '#protocol/errors.ts';
import { type App, route } from '../route.ts';

const TYPES = ['operation', 'lifecycle', 'logging'];

export function eventRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/1.0/events',
      summary: 'Operations and lifecycle as they happen',
      tag: 'events',
      query: EventsQuery,
      answer: 'websocket',
      access: 'trusted',
    },
    ({ ctx, query, projects, request }) => {
      if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') {
        throw badRequest('Missing or invalid upgrade header');
      }
      const types = query.type?.split(',').filter(Boolean) ?? null;
      for (const type of types ?? []) {
        if (!TYPES.includes(type)) throw badRequest(`Event type "${type}" is not supported`);
      }
      const admin = ctx.principal.projects === null;
      if (types?.includes('logging') && !admin) throw forbidden();
      // One filter names one project: who may see several must say which.
      if (projects === null ? !admin : projects.length !== 1) throw forbidden();
      return ctx.objects.cluster.connectEvents(request, { types, project: projects?.[0] ?? null, admin });
    },
  );
}
