/** The events websocket: how clients wait for operations (lxd-api 3.3); and kept events (extension `longshore_events_since`). */
import { EventsQuery } from '#protocol/api/operation.ts';
import { badRequest, forbidden } from '#protocol/errors.ts';
import { eventsSince } from '#worker/services/events.ts';
import { sync } from '../envelope.ts';
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
      lists: true,
    },
    async ({ ctx, query, projects, readOnly, request }) => {
      const upgrades = request.headers.get('upgrade')?.toLowerCase() === 'websocket';
      if (!upgrades && query.since === undefined) throw badRequest('Missing or invalid upgrade header');
      const types = query.type?.split(',').filter(Boolean) ?? null;
      for (const type of types ?? []) {
        if (!TYPES.includes(type)) throw badRequest(`Event type "${type}" is not supported`);
      }
      const admin = ctx.principal.projects === null;
      if (types?.includes('logging') && !admin) throw forbidden();
      // One filter names one project: who may see several must say which.
      if (projects === null ? !admin : projects.length !== 1) throw forbidden();
      const filter = { types, project: projects?.[0] ?? null, admin, ...(readOnly ? { readOnly } : {}) };
      const { since } = query;
      if (!upgrades && since !== undefined) return sync(await eventsSince(ctx, filter, since));
      return ctx.objects.cluster.connectEvents(request, since === undefined ? filter : { ...filter, since });
    },
  );
}
