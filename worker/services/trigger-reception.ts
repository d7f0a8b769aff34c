/** How a delivery is answered, and how that is recorded: whatever became of it, there is a row that says so. */
import { shiftIso } from '#worker/lib/clock.ts';
import { runBatch } from '#worker/state/db.ts';
import { countRefusals, insertDelivery, type NewDelivery } from '#worker/state/triggers.ts';
import type { ApiOperation } from './operations.ts';
import type { TriggerContext } from './triggers.ts';

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

export const reception = (outcome: Reception['outcome'], status: number, more: Partial<Reception> = {}): Reception => ({
  outcome,
  status,
  reason: '',
  instanceName: '',
  operation: null,
  retryAfterSeconds: 0,
  ...more,
});
export const refused = (status: number, reason: string, more: Partial<Reception> = {}) =>
  reception('refused', status, { reason, ...more });

/** What is known of every delivery. */
export type Known = Pick<NewDelivery, 'triggerId' | 'deliveryId' | 'receivedAt'>;

export const toRecord = (known: Known, answer: Reception): NewDelivery => ({
  ...known,
  outcome: answer.outcome,
  status: answer.status,
  reason: answer.reason.slice(0, 1024),
  instanceName: answer.instanceName,
  operationId: answer.operation?.id ?? '',
});

/** Records the answer and hands it back. */
export async function record(ctx: TriggerContext, known: Known, answer: Reception): Promise<Reception> {
  await runBatch(ctx.db, [insertDelivery(ctx.db, toRecord(known, answer))]);
  return answer;
}

/** The same for who has proved nothing; only so many, since strangers must not fill the table. */
export async function recordStranger(ctx: TriggerContext, known: Known, answer: Reception): Promise<Reception> {
  const recent = await countRefusals(ctx.db, known.triggerId, shiftIso(known.receivedAt, -MINUTE_MS));
  return recent < REFUSALS_PER_MINUTE ? record(ctx, known, answer) : answer;
}
