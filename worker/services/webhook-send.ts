/**
 * Sends lifecycle events to webhooks, signed by Standard Webhooks. Each is sent at least once, and always under the same
 * `webhook-id`, by which a receiver tells what it has; what fails is tried again, ever later, for more than a day.
 */
import { Webhook } from 'standardwebhooks';
import { retryDelayMs, wantsAction } from '#worker/domain/webhook.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import type { Outbound } from '#worker/lib/outbound.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import {
  claimDue,
  type Due,
  enqueue,
  type KeptEvent,
  listDue,
  listUnqueued,
  listWebhooks,
  settleDue,
  type WebhookRow,
} from '#worker/state/webhooks.ts';
import type { Context } from './context.ts';
import { sealedFor } from './webhooks.ts';

export type SendContext = Context & { sealer: Sealer; outbound: Outbound };

/** One run's work; the rest is for the next. */
const EVENTS_AT_ONCE = 200;
/** As many connections as a Worker may have open at a time, less one for the database. */
const SENT_AT_ONCE = 5;
const ROUNDS = 4;
/** Longer than an attempt takes: a run that died has its attempts tried again after this. */
const CLAIM_MS = 60_000;

/** Queues what has happened, sends what is due. */
export async function sendWebhooks(ctx: SendContext): Promise<void> {
  const webhooks = await listWebhooks(ctx.db, null);
  if (webhooks.length === 0) return;
  await queueEvents(ctx, webhooks);
  for (let round = 0; round < ROUNDS; round += 1) {
    const due = await listDue(ctx.db, ctx.now(), SENT_AT_ONCE);
    await Promise.all(due.map((entry) => send(ctx, entry)));
    if (due.length < SENT_AT_ONCE) return;
  }
}

async function queueEvents(ctx: SendContext, webhooks: readonly WebhookRow[]): Promise<void> {
  const events = await listUnqueued(ctx.db, EVENTS_AT_ONCE);
  const cursor = events.at(-1)?.seq;
  if (cursor === undefined) return;
  for (const webhook of webhooks) {
    if (webhook.cursor >= cursor) continue;
    const seqs = events.filter((event) => isFor(webhook, event)).map(({ seq }) => seq);
    await enqueue(ctx.db, webhook, { seqs, cursor, now: ctx.now() });
  }
}

/** Events of no project are everybody's, as on the events websocket. What happens while it is disabled is not sent later. */
const isFor = (webhook: WebhookRow, event: KeptEvent): boolean =>
  webhook.enabled &&
  event.seq > webhook.cursor &&
  (event.project === null || event.project === webhook.project) &&
  wantsAction(webhook.actions, event.metadata.action);

async function send(ctx: SendContext, { row, webhook, event }: Due): Promise<void> {
  const claimed = await claimDue(ctx.db, row, shiftIso(ctx.now(), CLAIM_MS));
  if (claimed === undefined) return;
  const { accepted, result } = await attempt(ctx, webhook, event);
  if (accepted) return await settleDue(ctx.db, claimed, { status: 'sent', lastResult: result });
  const delayMs = retryDelayMs(claimed.attempts, Math.random());
  ctx.log.warn('webhook.send.failed', {
    webhook: webhook.name,
    eventId: event.seq,
    attempts: claimed.attempts,
    result,
  });
  await settleDue(
    ctx.db,
    claimed,
    delayMs === null
      ? { status: 'failed', lastResult: result }
      : { status: 'waiting', lastResult: result, dueAt: shiftIso(ctx.now(), delayMs) },
  );
}

async function attempt(
  ctx: SendContext,
  webhook: WebhookRow,
  event: KeptEvent,
): Promise<{ accepted: boolean; result: string }> {
  const { seq, project, location, timestamp, metadata } = event;
  const body = JSON.stringify({ type: metadata.action, timestamp, data: { id: seq, project, location, ...metadata } });
  const id = `evt_${webhook.id}_${seq}`;
  const at = new Date(ctx.now());
  try {
    const secret = await ctx.sealer.open(webhook.secret, sealedFor(webhook.id));
    const status = await ctx.outbound.post(webhook.url, {
      headers: {
        'content-type': 'application/json',
        'user-agent': 'Longshore',
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': new Webhook(secret).sign(id, at, body),
      },
      body,
      allowPrivate: webhook.allowPrivate,
    });
    return { accepted: status >= 200 && status < 300, result: String(status) };
  } catch (error) {
    // The text of a network error can name what is on a private network: only the kind is kept.
    return {
      accepted: false,
      result: error instanceof Error && error.name === 'TimeoutError' ? 'timeout' : 'no answer',
    };
  }
}
