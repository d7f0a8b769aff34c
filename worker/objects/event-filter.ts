/** Which events a listener gets (lxd-api 3.3). Pure. */
import { z } from 'zod';
import { withoutStreams } from '#worker/domain/operation.ts';
import type { ClusterEvent, EventFilter } from './contract.ts';

/** How the filter travels to the object and stays in the socket's attachment. */
export const EventFilterSchema: z.ZodType<EventFilter> = z.object({
  types: z.array(z.string()).nullable(),
  project: z.string().nullable(),
  admin: z.boolean(),
  readOnly: z.boolean().optional(),
  since: z.number().optional(),
});

/** Set by `connectEvents` over whatever the client sent; nothing else reaches the object. */
export const FILTER_HEADER = 'x-longshore-event-filter';

/** True when the listener may see the event and asked for it. Logging is for administrators. */
export function passes(filter: EventFilter, event: ClusterEvent): boolean {
  if (filter.types !== null && !filter.types.includes(event.type)) return false;
  if (event.type === 'logging' && !filter.admin) return false;
  return event.project === undefined || filter.project === null || event.project === filter.project;
}

/** The event as the listener is to see it. */
export function shownTo(filter: EventFilter, event: ClusterEvent): ClusterEvent {
  const { metadata } = Operation.safeParse(event.metadata).data ?? {};
  if (!filter.readOnly || event.type !== 'operation' || metadata === undefined) return event;
  return { ...event, metadata: withoutStreams({ ...event.metadata, metadata }) };
}
const Operation = z.object({ metadata: z.record(z.string(), z.unknown()) });
