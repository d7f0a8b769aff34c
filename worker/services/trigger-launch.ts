/** Launching for a delivery that was verified and matched: once, within the limits, from checked values only. */
import { AppError } from '#protocol/errors.ts';
import { lookUp, readParameters } from '#worker/domain/trigger-payload.ts';
import { fillTemplate, usedParameters } from '#worker/domain/trigger-template.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { findOperation, operationToApi } from '#worker/state/operations.ts';
import { insertLaunch, isNotAdmitted, type LaunchFacts, readLaunchFacts } from '#worker/state/trigger-launches.ts';
import { insertDelivery, type LaunchRow, type TriggerRow } from '#worker/state/triggers.ts';
import { createInstance } from './instance-create.ts';
import { type Known, type Reception, reception, record, refused, toRecord } from './trigger-reception.ts';
import { isOutsideWindow, OUTSIDE_WINDOW } from './trigger-verify.ts';
import type { TriggerContext } from './triggers.ts';

const HOUR_MS = 3_600_000;
/** When the number of instances is the limit: one may end at any time. */
const RETRY_SECONDS = 30;

/** `key` is what the delivery is known by. Throws what is no answer to a sender: a database that is away, a fault of ours. */
export async function launchFor(
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

/** ISO text or seconds; NaN for anything else. */
function timeAt(payload: unknown, pointer: string): number {
  const value = lookUp(payload, pointer);
  if (typeof value === 'number') return value * 1000;
  return typeof value === 'string' ? Date.parse(value) : Number.NaN;
}
