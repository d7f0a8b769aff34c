/** What comes due between two requests: the end of instances that triggers launched, and events for webhooks. */
import type { Authorized } from '#worker/services/context.ts';
import { endOverdue } from '#worker/services/trigger-ending.ts';
import { type SendContext, sendWebhooks } from '#worker/services/webhook-send.ts';
import { isSweepNeeded } from '#worker/state/sweep.ts';

/** Often enough that a time to live is kept to a quarter of a minute. */
export const SWEEP_MS = 15_000;

/**
 * One run: a small read when there is nothing that could come due. False when the next one can wait until something has
 * happened, which an event tells. Throws when the database does not answer.
 */
export async function sweep(ctx: Authorized & SendContext): Promise<boolean> {
  if (!(await isSweepNeeded(ctx.db))) return false;
  await endOverdue(ctx);
  await sendWebhooks(ctx);
  return true;
}
