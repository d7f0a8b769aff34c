/** Lifecycle events: durable and in order, so that they can be replayed. */
import { and, asc, eq, gt, isNull, or } from 'drizzle-orm';
import { z } from 'zod';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import { type Db, guardDb, type Write } from './db.ts';
import { events } from './schema.ts';

export type EventRow = typeof events.$inferSelect;

const LifecycleMetadata = z.object({
  action: z.string(),
  source: z.string(),
  context: z.record(z.string(), z.unknown()).optional(),
  requestor: z.record(z.string(), z.string()).optional(),
});

/** Writes for a batch, each answering its event's `seq`. Only lifecycle events are kept; operations have their own rows. */
export const insertEvents = (db: Db, list: readonly ClusterEvent[]): Write[] =>
  list
    .filter((event) => event.type === 'lifecycle')
    .map(({ project, location, timestamp, metadata }) =>
      db
        .insert(events)
        .values({ project: project ?? null, location, timestamp, metadata: LifecycleMetadata.parse(metadata) })
        .returning({ seq: events.seq }),
    );

/** The event as listeners get it. */
const toClusterEvent = ({ seq, project, location, timestamp, metadata }: EventRow): ClusterEvent => ({
  type: 'lifecycle',
  id: seq,
  timestamp,
  location,
  ...(project === null ? {} : { project }),
  metadata,
});

/** Events after `seq`, oldest first, at most `limit`. With a project: its own and those of none. */
export async function readEvents(
  db: Db,
  { project, afterSeq, limit }: { project: string | null; afterSeq: number; limit: number },
): Promise<ClusterEvent[]> {
  const scope = project === null ? undefined : or(eq(events.project, project), isNull(events.project));
  const rows = await guardDb(() =>
    db
      .select()
      .from(events)
      .where(and(gt(events.seq, afterSeq), scope))
      .orderBy(asc(events.seq))
      .limit(limit),
  );
  return rows.map(toClusterEvent);
}
