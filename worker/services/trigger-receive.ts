/**
 * What comes to `/hooks/<id>`. Verified first, then matched, then launched; every way it can end is recorded as a delivery.
 *
 * Invariants: nothing is launched for a body that was not signed with the trigger's secret; a delivery launches once,
 * because its key is written in the batch of its instance; a trigger can do what somebody confined to its project can.
 */
import { AppError, forbidden, notFound } from '#protocol/errors.ts';
import { type Delivery, lookUp, matchesAll, readParameters } from '#worker/domain/trigger-payload.ts';
import { fillName, fillTemplate, nameParameters, usedParameters } from '#worker/domain/trigger-template.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { runBatch } from '#worker/state/db.ts';
import { findOperation, operationToApi } from '#worker/state/operations.ts';
import {
  endLaunch,
  insertLaunch,
  isNotAdmitted,
  type LaunchFacts,
  readLaunchFacts,
} from '#worker/state/trigger-launches.ts';
import {
  countRefusals,
  findTriggerById,
  insertDelivery,
  type LaunchRow,
  type NewDelivery,
  type TriggerRow,
} from '#worker/state/triggers.ts';
import { createInstance } from './instance-create.ts';
import type { ApiOperation } from './operations.ts';
import { endOverdue } from './trigger-ending.ts';
import {
  decodeUtf8,
  deliveryIdOf,
  type IncomingHeaders,
  isOutsideWindow,
  OUTSIDE_WINDOW,
  type Verdict,
  verifyDelivery,
} from './trigger-verify.ts';
import type { TriggerContext } from './triggers.ts';
import { limitAttempts } from './trust-attempts.ts';

/** How a delivery is answered. */
export interface Reception {
  outcome: NewDelivery['outcome'];
  status: number;
  reason: string;
  instanceName: string;
  operation: ApiOperation | null;
  /** With 429. */
  retryAfterSeconds: number;
}

/** Of strangers, no more than this is recorded in a minute. */
const REFUSALS_PER_MINUTE = 30;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** As long as failures from an address are remembered. */
const GUESSING_SECONDS = 60;
/** When the number of instances is the limit: one may end at any time. */
const RETRY_SECONDS = 30;

const reception = (outcome: Reception['outcome'], status: number, more: Partial<Reception> = {}): Reception => ({
  outcome,
  status,
  reason: '',
  instanceName: '',
  operation: null,
  retryAfterSeconds: 0,
  ...more,
});
const refused = (status: number, reason: string, more: Partial<Reception> = {}) =>
  reception('refused', status, { reason, ...more });

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

type Known = Pick<NewDelivery, 'triggerId' | 'deliveryId' | 'receivedAt'>;

const toRecord = (known: Known, answer: Reception): NewDelivery => ({
  ...known,
  outcome: answer.outcome,
  status: answer.status,
  reason: answer.reason.slice(0, 1024),
  instanceName: answer.instanceName,
  operationId: answer.operation?.id ?? '',
});

async function record(ctx: TriggerContext, known: Known, answer: Reception): Promise<Reception> {
  await runBatch(ctx.db, [insertDelivery(ctx.db, toRecord(known, answer))]);
  return answer;
}

/** The same for who has proved nothing; only so many, since strangers must not fill the table. */
async function recordStranger(ctx: TriggerContext, known: Known, answer: Reception): Promise<Reception> {
  const recent = await countRefusals(ctx.db, known.triggerId, shiftIso(known.receivedAt, -MINUTE_MS));
  return recent < REFUSALS_PER_MINUTE ? record(ctx, known, answer) : answer;
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
  if (matchesAll(rules.launch, delivery)) return launch(ctx, row, payload, { ...known, key: verdict.key });
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
    return await limitAttempts(ctx, `hook ${row.id} ${ctx.principal.address}`, async () => {
      verdict = await verifyDelivery(ctx, row, headers, body);
      if (!verdict.ok) throw forbidden(verdict.reason);
      return verdict;
    });
  } catch (error) {
    if (error instanceof AppError && error.code === 'forbidden') return verdict;
    throw error;
  }
}

function parsePayload(body: Uint8Array): object | undefined {
  try {
    const value: unknown = JSON.parse(decodeUtf8(body) ?? '');
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** ISO text or seconds; NaN for anything else. */
function timeAt(payload: unknown, pointer: string): number {
  const value = lookUp(payload, pointer);
  if (typeof value === 'number') return value * 1000;
  return typeof value === 'string' ? Date.parse(value) : Number.NaN;
}

async function launch(
  ctx: TriggerContext,
  row: TriggerRow,
  payload: unknown,
  { key, ...known }: Known & { key: string },
): Promise<Reception> {
  const { parameters, template, limits } = row;
  // The end of a long job names the same time: only launches are too late.
  if (row.timestampPointer !== '' && isOutsideWindow(ctx, row, timeAt(payload, row.timestampPointer)))
    return record(ctx, known, refused(401, OUTSIDE_WINDOW));
  const read = readParameters(parameters, usedParameters(template), payload);
  if (!read.ok) return record(ctx, known, refused(422, read.reason));
  const body = fillTemplate(template, read.values);
  const query = {
    triggerId: row.id,
    deliveryKey: key,
    instanceName: body.name,
    hourAgo: shiftIso(known.receivedAt, -HOUR_MS),
  };
  const facts = await readLaunchFacts(ctx.db, query);
  const early = await refuseBy(ctx, row, facts, known, body.name);
  if (early !== null) return early;
  try {
    let name = body.name;
    const operation = await createInstance(ctx, {
      project: row.project,
      target: template.target === '' ? null : template.target,
      body,
      alongside: (made) => {
        name = made.name;
        const answer = reception('launched', 202, { instanceName: name });
        return [
          insertLaunch(
            ctx.db,
            {
              triggerId: row.id,
              deliveryKey: key,
              instanceId: made.instanceId,
              instanceName: name,
              operationId: made.operationId,
              launchedAt: known.receivedAt,
              expiresAt: limits.ttlSeconds === null ? null : shiftIso(ctx.now(), limits.ttlSeconds * 1000),
            },
            { ...limits, hourAgo: query.hourAgo },
          ),
          insertDelivery(ctx.db, { ...toRecord(known, answer), operationId: made.operationId }),
        ];
      },
    });
    return reception('launched', 202, { instanceName: name, operation });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    // Another delivery may have been faster, this very one too: what stands now tells.
    if (error.code === 'conflict' || isNotAdmitted(error)) {
      const now = await refuseBy(ctx, row, await readLaunchFacts(ctx.db, query), known, body.name);
      if (now !== null) return now;
    }
    return record(ctx, known, refusalOf(error));
  }
}

/** A template that cannot be carried out is 422, whatever LXD would call it; what may pass later keeps its status. */
function refusalOf(error: AppError): Reception {
  if (isNotAdmitted(error)) return refused(429, 'A limit was reached', { retryAfterSeconds: RETRY_SECONDS });
  if (['bad_request', 'not_found', 'forbidden', 'failed'].includes(error.code)) return refused(422, error.message);
  if (error.code === 'conflict' || error.code === 'unavailable') return refused(error.status, error.message);
  throw error;
}

/** What speaks against a launch as things stand; null when nothing does. */
async function refuseBy(
  ctx: TriggerContext,
  row: TriggerRow,
  facts: LaunchFacts,
  known: Known,
  instanceName: string,
): Promise<Reception | null> {
  const { concurrency, perHour } = row.limits;
  if (facts.earlier !== undefined) return record(ctx, known, await repeat(ctx, facts.earlier));
  if (facts.deletedBefore) {
    const reason = 'Its deletion came first';
    return record(ctx, known, reception('ignored', 200, { reason, instanceName }));
  }
  if (concurrency !== null && facts.alive >= concurrency) {
    const reason = `The trigger has ${facts.alive} instances, its limit`;
    return record(ctx, known, refused(429, reason, { retryAfterSeconds: RETRY_SECONDS }));
  }
  if (perHour !== null && facts.sinceHour >= perHour) {
    const ends = Date.parse(facts.oldestInHour ?? known.receivedAt) + HOUR_MS - Date.parse(known.receivedAt);
    const reason = `The trigger has launched ${facts.sinceHour} instances within an hour, its limit`;
    return record(ctx, known, refused(429, reason, { retryAfterSeconds: Math.max(1, Math.ceil(ends / 1000)) }));
  }
  return null;
}

/** A delivery that came before is answered as it was then, by its operation while that is remembered. */
async function repeat(ctx: TriggerContext, earlier: LaunchRow): Promise<Reception> {
  const operation = await findOperation(ctx.db, earlier.operationId);
  const reason = 'The delivery came before';
  const more = { reason, instanceName: earlier.instanceName };
  return operation === undefined
    ? reception('duplicate', 200, more)
    : reception('duplicate', 202, { ...more, operation: operationToApi(operation) });
}

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
