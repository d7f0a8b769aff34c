/** Which events a listener gets (lxd-api 3.3). Pure. */
import { z } from 'zod';
import type { ClusterEvent, EventFilter } from './contract.ts';

/** How the filter travels to the object and stays in the socket's attachment. */
export const EventFilterSchema: z.ZodType<EventFilter> = z.object({
  types: z.array(z.string()).nullable(),
  project: z.string().nullable(),
  admin: z.boolean(),
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
