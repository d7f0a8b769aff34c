/** Whether requests can be served. */
import { isReachable } from '#worker/state/health.ts';
import type { Context } from './context.ts';

/** False when the database does not answer in time or has no tables. Never throws. */
export async function isReady(ctx: Context): Promise<boolean> {
  try {
    await isReachable(ctx.db);
    return true;
  } catch (error) {
    ctx.log.warn('health.database', {}, error);
    return false;
  }
}
