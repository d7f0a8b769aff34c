/** Metrics for Prometheus (lxd-api 5.9). */
import { z } from 'zod';
import { forbidden, notFound } from '#protocol/errors.ts';
import { readMetrics } from '#worker/services/metrics.ts';
import { findProject } from '#worker/state/projects.ts';
import { type App, route } from '../route.ts';

const MetricsQuery = z.object({
  /** Only this project's instances. */
  project: z.string().optional(),
  /** Only this member's instances. */
  target: z.string().optional(),
});

/** LXD's, with the version of the format that Prometheus asks for. */
const HEADERS = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' };

export function metricsRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/1.0/metrics',
      summary: 'Metrics of instances, members and the control plane, as text for Prometheus',
      tag: 'server',
      query: MetricsQuery,
      answer: 'raw',
      produces: 'text/plain',
      access: 'metrics',
      scope: 'server',
    },
    async ({ ctx, query, watches }) => {
      const { project, target } = query;
      if (project !== undefined) {
        if (watches !== null && !watches.includes(project)) throw forbidden();
        if ((await findProject(ctx.db, project)) === undefined) throw notFound('Project');
      }
      const text = await readMetrics(ctx, {
        projects: project === undefined ? watches : [project],
        target: target ?? null,
        showsMembers: watches === null,
      });
      return new Response(text, { headers: HEADERS });
    },
  );
}
