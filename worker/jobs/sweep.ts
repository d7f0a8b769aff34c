/** What comes due between two requests: the end of instances that triggers launched. */
import type { Authorized } from '#worker/services/context.ts';
import { endOverdue } from '#worker/services/trigger-ending.ts';

/** Often enough that a time to live is kept to a quarter of a minute. */
export const SWEEP_MS = 15_000;

/** One run: a few small reads when nothing is due. Throws when the database does not answer. */
export async function sweep(ctx: Authorized): Promise<void> {
  await endOverdue(ctx);
}
