/** Triggers: signed webhooks that launch instances. Who defines one; what comes in is in `trigger-receive.ts`. */
import type { TriggerPatch, TriggerPut, TriggerSecretPost, TriggersPost } from '#protocol/api/trigger.ts';
import { AppError, badRequest, conflict, notFound } from '#protocol/errors.ts';
import { parseExpiry } from '#worker/domain/server-config.ts';
import { checkTrigger, checkTriggerName, type TriggerDefinition } from '#worker/domain/trigger-check.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { newSecret } from '#worker/lib/crypto.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import {
  deleteTrigger,
  findTrigger,
  insertTrigger,
  listDeliveries,
  listTriggers,
  type TriggerRow,
  updateTrigger,
} from '#worker/state/triggers.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { readTrigger, type WritableTrigger, writableOf } from './trigger-render.ts';
import { newWebhookSecret, readWebhookSecret } from './webhook-secret.ts';

export type TriggerContext = Authorized & { sealer: Sealer };

/** More is no list any more; all of them are kept for a week. */
const DELIVERIES_SHOWN = 100;

export const triggerUrl = (project: string, name: string): string =>
  `/1.0/triggers/${encodeURIComponent(name)}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

/** What the sealed secret of a trigger is bound to. */
export const secretOf = (id: string): string => `trigger ${id}`;

export const triggersOf = (ctx: Authorized, projects: string[] | null): Promise<TriggerRow[]> =>
  listTriggers(ctx.db, projects);

/** Throws `Trigger not found`. */
export async function getTrigger(ctx: Authorized, project: string, name: string): Promise<TriggerRow> {
  const row = await findTrigger(ctx.db, project, name);
  if (row === undefined) throw notFound('Trigger');
  return row;
}

/** The trigger and its secret, which is shown this once. Throws 400 for a definition that could not work, 409 for a taken name. */
export async function createTrigger(
  ctx: TriggerContext,
  project: string,
  body: TriggersPost,
): Promise<{ row: TriggerRow; secret: string }> {
  const { name } = body;
  const badName = checkTriggerName(name);
  if (badName !== null) throw badRequest(badName);
  const definition = { scheme: readScheme(body.scheme), ...readTrigger(body) };
  check(definition);
  const secret = body.secret === '' ? newWebhookSecret(definition.scheme) : body.secret;
  readWebhookSecret(definition.scheme, secret);
  // 128 bits that nobody guesses: strangers cannot even find the address.
  const id = newSecret().slice(0, 32);
  const row: TriggerRow = {
    ...definition,
    id,
    project,
    name,
    secret: await ctx.sealer.seal(secret, secretOf(id)),
    previousSecret: null,
    previousUntil: null,
    createdAt: ctx.now(),
  };
  try {
    await makeChange(ctx, {
      writes: [insertTrigger(ctx.db, row)],
      events: [lifecycle(ctx, 'trigger-created', triggerUrl(project, name), project)],
    });
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    throw conflict(`Trigger "${name}" already exists`, error);
  }
  return { row, secret };
}

/** Replaces what can be written; of a PATCH, what it names. Throws 400 for a definition that could not work. */
export async function changeTrigger(
  ctx: Authorized,
  row: TriggerRow,
  body: TriggerPut | { patch: TriggerPatch },
): Promise<void> {
  const wanted = 'patch' in body ? merge(writableOf(row), body.patch) : body;
  const definition = { scheme: row.scheme, ...readTrigger(wanted) };
  check(definition);
  await makeChange(ctx, {
    writes: [updateTrigger(ctx.db, row.id, definition)],
    events: [lifecycle(ctx, 'trigger-updated', triggerUrl(row.project, row.name), row.project)],
  });
}

/** Instances that it launched stay, and are nobody's to delete any more. */
export async function removeTrigger(ctx: Authorized, row: TriggerRow): Promise<void> {
  await makeChange(ctx, {
    writes: deleteTrigger(ctx.db, row.id),
    events: [lifecycle(ctx, 'trigger-deleted', triggerUrl(row.project, row.name), row.project)],
  });
}

/** A new secret, shown this once. The old one stays good for `keep_old_for`, so that senders can be changed without a gap. */
export async function rotateSecret(ctx: TriggerContext, row: TriggerRow, body: TriggerSecretPost): Promise<string> {
  const keptMs = body.keep_old_for === '' ? 0 : parseExpiry(body.keep_old_for);
  if (keptMs === null) throw badRequest('keep_old_for is no expiry expression');
  const secret = body.secret === '' ? newWebhookSecret(row.scheme) : body.secret;
  readWebhookSecret(row.scheme, secret);
  const sealed = await ctx.sealer.seal(secret, secretOf(row.id));
  const previous =
    keptMs === 0
      ? { previousSecret: null, previousUntil: null }
      : { previousSecret: row.secret, previousUntil: shiftIso(ctx.now(), keptMs) };
  await makeChange(ctx, {
    writes: [updateTrigger(ctx.db, row.id, { secret: sealed, ...previous })],
    events: [lifecycle(ctx, 'trigger-secret-rotated', triggerUrl(row.project, row.name), row.project)],
  });
  return secret;
}

/** The newest deliveries, whatever became of them. */
export const recentDeliveries = (ctx: Authorized, row: TriggerRow) => listDeliveries(ctx.db, row.id, DELIVERIES_SHOWN);

function readScheme(scheme: string): TriggerRow['scheme'] {
  if (scheme === '' || scheme === 'standard') return 'standard';
  if (scheme === 'github') return scheme;
  throw badRequest('scheme must be standard (Standard Webhooks) or github');
}

function check(definition: TriggerDefinition): void {
  const refusal = checkTrigger(definition);
  if (refusal !== null) throw badRequest(refusal);
}

const merge = (writable: WritableTrigger, patch: TriggerPatch): WritableTrigger => ({
  ...writable,
  ...Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)),
});
