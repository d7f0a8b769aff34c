/** The Worker: exports and wiring, no logic. */
import type { Env } from './env.ts';
import { createApp } from './http/app.ts';
import { createJobContext } from './jobs/context.ts';
import { prune } from './jobs/prune.ts';
import { sweep } from './jobs/sweep.ts';

export { Cluster } from './objects/cluster.ts';
export { Links } from './objects/links.ts';
export { Stream } from './objects/stream.ts';

const app = createApp();

// biome-ignore lint/style/noDefaultExport: the Workers runtime takes its handlers from the default export
export default {
  fetch: (request, env, context) => app.fetch(request, env, context),
  /** Cloudflare's cron; the Cluster object's alarm does the same where there is none. */
  async scheduled(_controller, env) {
    const ctx = createJobContext(env, 'scheduled');
    const { events } = await prune(ctx.db, ctx.now());
    if (events.length > 0) await ctx.objects.cluster.publish(events);
    await sweep(ctx);
  },
} satisfies ExportedHandler<Env>;
