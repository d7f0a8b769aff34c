/** What comes due between two requests: the end of instances that triggers launched, and events for webhooks. */
import type { Authorized } from '#worker/services/context.ts';
import { endOverdue } from '#worker/services/trigger-ending.ts';
import { type SendContext, sendWebhooks } from '#worker/services/webhook-send.ts';

/** Often enough that a time to live is kept to a quarter of a minute. */
export const SWEEP_MS = 15_000;

/** One run: a few small reads when nothing is due. Throws when the database does not answer. */
export async function sweep(ctx: Authorized & SendContext): Promise<void> {
  await endOverdue(ctx);
  await sendWebhooks(ctx);
}
