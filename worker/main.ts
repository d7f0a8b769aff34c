/** The Worker: exports and wiring, no logic. */
import { type Env, parseVars } from './env.ts';
import { createApp } from './http/app.ts';
import { prune } from './jobs/prune.ts';
import { nowIso } from './lib/clock.ts';
import { createObjects } from './objects/client.ts';
import { openDb } from './state/db.ts';

export { Cluster } from './objects/cluster.ts';
export { Links } from './objects/links.ts';
export { Stream } from './objects/stream.ts';

const app = createApp();

// biome-ignore lint/style/noDefaultExport: the Workers runtime takes its handlers from the default export
export default {
  fetch: (request, env, context) => app.fetch(request, env, context),
  /** Cloudflare's cron; the Cluster object's alarm does the same where there is none. */
  async scheduled(_controller, env) {
    const { events } = await prune(openDb(env), nowIso());
    if (events.length > 0) await createObjects(env, parseVars(env)).cluster.publish(events);
  },
} satisfies ExportedHandler<Env>;
