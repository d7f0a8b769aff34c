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
  .object({ type: z.string().max(256).optional() })
  .meta({ id: 'EventsQuery', description: 'Comma-separated event types; absent: all' });
export type EventsQuery = z.infer<typeof EventsQuery>;
