/**
 * What comes to `/hooks/<id>`. Verified first, then matched, then launched; every way it can end is recorded as a delivery.
 *
 * Invariants: nothing is launched for a body that was not signed with the trigger's secret; a delivery launches once,
 * because its key is written in the batch of its instance; a trigger can do what somebody confined to its project can.
 */
import { AppError, forbidden, notFound } from '#protocol/errors.ts';
import { type Delivery, matchesAll, readParameters } from '#worker/domain/trigger-payload.ts';
import { fillName, nameParameters } from '#worker/domain/trigger-template.ts';
import { parseWellFormed } from '#worker/lib/json.ts';
import { endLaunch } from '#worker/state/trigger-launches.ts';
import { findTriggerById, type TriggerRow } from '#worker/state/triggers.ts';
import { endOverdue } from './trigger-ending.ts';
import { launchFor } from './trigger-launch.ts';
import {
  type Known,
  type Reception,
  reception,
  record,
  recordStranger,
  refused,
  toRecord,
} from './trigger-reception.ts';
import { decodeUtf8, deliveryIdOf, type IncomingHeaders, type Verdict, verifyDelivery } from './trigger-verify.ts';
import type { TriggerContext } from './triggers.ts';
import { limitAttempts } from './trust-attempts.ts';

/** As long as failures from an address are remembered. */
const GUESSING_SECONDS = 60;

export interface Incoming {
  id: string;
  headers: IncomingHeaders;
  /** Null: larger than anything that is taken. */
  body: Uint8Array<ArrayBuffer> | null;
}

/** Answers for every delivery of a trigger that exists. Throws 404 for an unknown address, 503 without a database. */
export async function receiveDelivery(ctx: TriggerContext, incoming: Incoming): Promise<Reception> {
  const row = await findTriggerById(ctx.db, incoming.id);
  if (row === undefined) throw notFound('Trigger');
  const { username: _, ...principal } = ctx.principal;
  const own: TriggerContext = {
    ...ctx,
    log: ctx.log.with({ trigger: row.name }),
    principal: { ...principal, protocol: 'webhook', username: row.name, projects: [row.project], member: null },
  };
  const known = { triggerId: row.id, deliveryId: deliveryIdOf(row, incoming.headers), receivedAt: ctx.now() };
  const answer = await judge(own, row, incoming, known);
  own.log.info('trigger.delivery', {
    delivery: known.deliveryId,
    outcome: answer.outcome,
    status: answer.status,
    reason: answer.reason,
    operationId: answer.operation?.id,
  });
  return answer;
}

async function judge(ctx: TriggerContext, row: TriggerRow, incoming: Incoming, known: Known): Promise<Reception> {
  const { headers, body } = incoming;
  if (body === null) return recordStranger(ctx, known, refused(413, 'The delivery is too large'));
  const verdict = await verifyWithin(ctx, row, headers, body);
  if (verdict === null) return refused(429, 'Too many failed signatures', { retryAfterSeconds: GUESSING_SECONDS });
  if (!verdict.ok) return recordStranger(ctx, known, refused(401, verdict.reason));
  if (!row.enabled) return record(ctx, known, refused(403, 'The trigger is disabled'));
  const payload = parsePayload(body);
  if (payload === undefined) return record(ctx, known, refused(400, 'The payload is no JSON object'));
  const delivery: Delivery = { header: (name) => headers.get(name), payload };
  const { rules } = row;
  if (rules.delete.length > 0 && matchesAll(rules.delete, delivery)) return end(ctx, row, payload, known);
  if (matchesAll(rules.launch, delivery)) return launchFor(ctx, row, payload, { ...known, key: verdict.key });
  return record(ctx, known, reception('ignored', 200, { reason: 'The conditions do not match' }));
}

/** Null, unchecked, after some failures from the same address within a minute: then the others are not kept waiting. */
async function verifyWithin(
  ctx: TriggerContext,
  row: TriggerRow,
  headers: IncomingHeaders,
  body: Uint8Array<ArrayBuffer>,
): Promise<Verdict | null> {
  let verdict: Verdict | null = null;
  try {
    const verify = async () => {
      verdict = await verifyDelivery(ctx, row, headers, body);
      if (!verdict.ok) throw forbidden(verdict.reason);
      return verdict;
    };
    return await limitAttempts(ctx, ctx.principal.address, verify, `hook ${row.id}`);
  } catch (error) {
    if (error instanceof AppError && (error.code === 'forbidden' || error.code === 'too_many')) return verdict;
    throw error;
  }
}

function parsePayload(body: Uint8Array): object | undefined {
  try {
    const value = parseWellFormed(decodeUtf8(body) ?? '');
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Ends the trigger's instance that the payload names, or notes that its end was told. */
async function end(ctx: TriggerContext, row: TriggerRow, payload: unknown, known: Known): Promise<Reception> {
  const read = readParameters(row.parameters, nameParameters(row.template), payload);
  if (!read.ok) return record(ctx, known, refused(422, read.reason));
  const instanceName = fillName(row.template, read.values);
  const absent = reception('absent', 200, { reason: 'The trigger has no such instance', instanceName });
  const ended = await endLaunch(ctx.db, { ...toRecord(known, absent), instanceName });
  if (!ended) return absent;
  const operation = await endOverdue(ctx, { triggerId: row.id, name: instanceName });
  // Without an operation its member is away or at work: it is ended as soon as that is over.
  return record(ctx, known, reception('deleted', operation === null ? 200 : 202, { instanceName, operation }));
}
