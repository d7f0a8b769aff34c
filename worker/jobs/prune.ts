/** The recurring clean-up: expired tokens are cancelled, finished work is forgotten. */
import { shiftIso } from '#worker/lib/clock.ts';
import type { Db } from '#worker/state/db.ts';
import type { Followup } from '#worker/state/followup.ts';
import { cancelOperations, listExpiredTokens } from '#worker/state/operations.ts';
import { deleteFinished } from '#worker/state/prune.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** LXD forgets after 5 s; an hour lets a script that lost its connection ask again. */
export const OPERATIONS_KEPT_MS = HOUR_MS;
/** A result is resent until acknowledged; a day is far longer than an agent takes to hear it. */
export const COMMANDS_KEPT_MS = DAY_MS;
/** A week of history: long enough to see what happened at the weekend. */
export const EVENTS_KEPT_MS = 7 * DAY_MS;
/** LXD deletes resolved warnings after a day. */
export const WARNINGS_KEPT_MS = DAY_MS;

/** GitHub signs no time: a captured delivery can be repeated once its launch is forgotten. */
export const LAUNCHES_KEPT_MS = 90 * DAY_MS;
export const DELIVERIES_KEPT_MS = 7 * DAY_MS;
/** Whoever repeats a request later than this means a new one. */
export const IDEMPOTENCY_KEPT_MS = DAY_MS;

/** A host that was away for half a year is told only that it is no member. */
export const REMOVED_KEPT_MS = 180 * DAY_MS;

/** One run. The follow-up holds the events of cancelled token operations. Throws when the database does not answer. */
export async function prune(db: Db, now: string): Promise<Followup> {
  const followup = await cancelOperations(db, await listExpiredTokens(db, now), now);
  await deleteFinished(db, {
    operationsBefore: shiftIso(now, -OPERATIONS_KEPT_MS),
    commandsBefore: shiftIso(now, -COMMANDS_KEPT_MS),
    eventsBefore: shiftIso(now, -EVENTS_KEPT_MS),
    warningsBefore: shiftIso(now, -WARNINGS_KEPT_MS),
    renamedBefore: shiftIso(now, -OPERATIONS_KEPT_MS),
    removedBefore: shiftIso(now, -REMOVED_KEPT_MS),
    launchesBefore: shiftIso(now, -LAUNCHES_KEPT_MS),
    deliveriesBefore: shiftIso(now, -DELIVERIES_KEPT_MS),
    idempotencyBefore: shiftIso(now, -IDEMPOTENCY_KEPT_MS),
    accessTokensBefore: now,
  });
  return followup;
}
