/** Receivers of lifecycle events: who defines one. Sending is in `webhook-send.ts`. */
import type { WebhookPatch, WebhookPut, WebhooksPost } from '#protocol/api/webhook.ts';
import { AppError, badRequest, conflict, forbidden, notFound } from '#protocol/errors.ts';
import { checkTriggerName } from '#worker/domain/trigger-check.ts';
import { checkWebhookAction, checkWebhookUrl } from '#worker/domain/webhook.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import {
  deleteWebhook,
  findWebhook,
  insertWebhook,
  listQueue,
  listWebhooks,
  updateWebhook,
  type WebhookRow,
} from '#worker/state/webhooks.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { newWebhookSecret, readWebhookSecret } from './webhook-secret.ts';

/** What is shown of the queue. */
const DELIVERIES_SHOWN = 100;

export const webhookUrl = (project: string, name: string): string =>
  `/1.0/webhooks/${encodeURIComponent(name)}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

/** What the sealed secret of a webhook is bound to. */
export const sealedFor = (id: string): string => `webhook ${id}`;

/** The part that a PUT replaces: what an ETag covers. */
export const writableWebhook = (row: WebhookRow): WebhookPut => ({
  description: row.description,
  enabled: row.enabled,
  url: row.url,
  actions: row.actions,
  allow_private: row.allowPrivate,
});

export const webhookToApi = (row: WebhookRow) => ({
  name: row.name,
  project: row.project,
  ...writableWebhook(row),
  created_at: row.createdAt,
});

export const webhooksOf = (ctx: Authorized, projects: string[] | null) => listWebhooks(ctx.db, projects);

/** Throws `Webhook not found`. */
export async function getWebhook(ctx: Authorized, project: string, name: string): Promise<WebhookRow> {
  const row = await findWebhook(ctx.db, project, name);
  if (row === undefined) throw notFound('Webhook');
  return row;
}

/** Answers the secret, which is shown this once. Throws 400 for a bad address, 403 for a private one by who may not, 409. */
export async function createWebhook(
  ctx: Authorized & { sealer: Sealer },
  project: string,
  body: WebhooksPost,
): Promise<string> {
  const { name } = body;
  if (checkTriggerName(name) !== null) throw badRequest(`Invalid webhook name "${name.slice(0, 64)}"`);
  check(ctx, body);
  const secret = body.secret === '' ? newWebhookSecret('standard') : body.secret;
  readWebhookSecret('standard', secret);
  const id = ctx.newId();
  const row = { ...toRow(body), id, project, name, secret: await ctx.sealer.seal(secret, sealedFor(id)) };
  try {
    await makeChange(ctx, {
      writes: [insertWebhook(ctx.db, { ...row, createdAt: ctx.now() })],
      events: [lifecycle(ctx, 'webhook-created', webhookUrl(project, name), project)],
    });
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    throw conflict(`Webhook "${name}" already exists`, error);
  }
  return secret;
}

/** What a PATCH leaves out stays. */
export async function changeWebhook(ctx: Authorized, row: WebhookRow, body: WebhookPut | WebhookPatch): Promise<void> {
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
  const wanted: WebhookPut = { ...writableWebhook(row), ...given };
  check(ctx, wanted);
  await makeChange(ctx, {
    writes: [updateWebhook(ctx.db, row.id, toRow(wanted))],
    events: [lifecycle(ctx, 'webhook-updated', webhookUrl(row.project, row.name), row.project)],
  });
}

export async function removeWebhook(ctx: Authorized, row: WebhookRow): Promise<void> {
  await makeChange(ctx, {
    writes: deleteWebhook(ctx.db, row.id),
    events: [lifecycle(ctx, 'webhook-deleted', webhookUrl(row.project, row.name), row.project)],
  });
}

/** The newest events of its queue and how sending them went. */
export async function sentTo(ctx: Authorized, webhook: WebhookRow) {
  const entries = await listQueue(ctx.db, webhook.id, DELIVERIES_SHOWN);
  return entries.map(({ row, event }) => ({
    event: row.eventSeq,
    action: event.metadata.action,
    status: row.status,
    attempts: row.attempts,
    last_result: row.lastResult,
    next_attempt_at: row.status === 'waiting' ? row.dueAt : '',
  }));
}

const toRow = (body: WebhookPut) => ({
  description: body.description,
  enabled: body.enabled,
  url: body.url,
  actions: body.actions,
  allowPrivate: body.allow_private,
});

function check(ctx: Authorized, { url, actions, allow_private }: WebhookPut): void {
  if (allow_private && ctx.principal.projects !== null)
    throw forbidden('Only an administrator can allow private addresses');
  const refusal = checkWebhookUrl(url, allow_private) ?? actions.map(checkWebhookAction).find((text) => text !== null);
  if (refusal) throw badRequest(refusal);
}
