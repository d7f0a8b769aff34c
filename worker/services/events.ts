/** Kept events, for who was not listening. */
import type { ClusterEvent, EventFilter } from '#worker/objects/contract.ts';
import { readEvents } from '#worker/state/events.ts';
import type { Context } from './context.ts';

/** One answer; a client that gets as many asks again from the last. */
export const EVENTS_AT_ONCE = 1_000;

/** Lifecycle events after `since`, oldest first; other kinds are not kept. */
export async function eventsSince(
  ctx: Context,
  { types, project }: EventFilter,
  since: number,
): Promise<ClusterEvent[]> {
  if (types !== null && !types.includes('lifecycle')) return [];
  return readEvents(ctx.db, { project, afterSeq: since, limit: EVENTS_AT_ONCE });
}
