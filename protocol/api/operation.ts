/** Queries of the operation and event endpoints (lxd-api 3.2, 3.3). */
import { z } from 'zod';

export const OperationWaitQuery = z
  .object({
    /** Seconds; absent or negative: no limit. */
    timeout: z.coerce.number().optional(),
    secret: z.string().max(256).optional(),
  })
  .meta({ id: 'OperationWaitQuery' });
export type OperationWaitQuery = z.infer<typeof OperationWaitQuery>;

export const EventsQuery = z
  .object({
    /** Comma-separated; absent: all. */
    type: z.string().max(256).optional(),
    /** Lifecycle events after the one of this id: as a list, or first on a websocket. */
    since: z.coerce.number().int().min(0).optional(),
  })
  .meta({ id: 'EventsQuery', description: 'Which events, and from when on' });
export type EventsQuery = z.infer<typeof EventsQuery>;
