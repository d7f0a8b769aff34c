/** Receivers of lifecycle events, and the queue of what they are still to get. */
import { and, asc, desc, eq, getTableColumns, inArray, lte, sql } from 'drizzle-orm';
import { type Db, guardDb, runBatch } from './db.ts';
import { events, webhookQueue, webhooks } from './schema.ts';
import type { Statement } from './statement.ts';

export type WebhookRow = typeof webhooks.$inferSelect;
export type QueueRow = typeof webhookQueue.$inferSelect;
export type KeptEvent = typeof events.$inferSelect;

export const findWebhook = (db: Db, project: string, name: string): Promise<WebhookRow | undefined> =>
  guardDb(() =>
    db
      .select()
      .from(webhooks)
      .where(and(eq(webhooks.project, project), eq(webhooks.name, name)))
      .get(),
  );

/** Of these projects (null: all), by project and name. */
export const listWebhooks = (db: Db, projects: string[] | null): Promise<WebhookRow[]> =>
  guardDb(() =>
    db
      .select()
      .from(webhooks)
      .where(projects === null ? undefined : inArray(webhooks.project, projects))
      .orderBy(asc(webhooks.project), asc(webhooks.name)),
  );

/** It gets what happens from now on. Fails with a unique violation when the project has one of that name. */
export const insertWebhook = (db: Db, row: Omit<WebhookRow, 'cursor'>): Statement =>
  db.insert(webhooks).values({ ...row, cursor: sql`(select coalesce(max(seq), 0) from events)` });

export const updateWebhook = (db: Db, id: string, change: Partial<WebhookRow>): Statement =>
  db.update(webhooks).set(change).where(eq(webhooks.id, id));

export const deleteWebhook = (db: Db, id: string): Statement[] => [
  db.delete(webhookQueue).where(eq(webhookQueue.webhookId, id)),
  db.delete(webhooks).where(eq(webhooks.id, id)),
];

/** Newest first, each with its event. */
export const listQueue = (db: Db, webhookId: string, limit: number) =>
  guardDb(() =>
    db
      .select({ row: getTableColumns(webhookQueue), event: getTableColumns(events) })
      .from(webhookQueue)
      .innerJoin(events, eq(events.seq, webhookQueue.eventSeq))
      .where(eq(webhookQueue.webhookId, webhookId))
      .orderBy(desc(webhookQueue.eventSeq))
      .limit(limit),
  );

/** The next events that some webhook has not looked at, oldest first. */
export const listUnqueued = (db: Db, limit: number): Promise<KeptEvent[]> =>
  guardDb(() =>
    db
      .select()
      .from(events)
      .where(sql`${events.seq} > (select min(${webhooks.cursor}) from ${webhooks})`)
      .orderBy(asc(events.seq))
      .limit(limit),
  );

/** Moves the webhook's cursor and queues these events, unless another run has moved it meanwhile. */
export async function enqueue(
  db: Db,
  webhook: WebhookRow,
  { seqs, cursor, now }: { seqs: readonly number[]; cursor: number; now: string },
): Promise<void> {
  const unmoved = sql`exists (select 1 from webhooks where id = ${webhook.id} and cursor = ${webhook.cursor})`;
  await runBatch(db, [
    ...seqs.map((seq) =>
      db.run(sql`insert into webhook_queue (webhook_id, event_seq, status, attempts, due_at, last_result, created_at)
        select ${webhook.id}, ${seq}, 'waiting', 0, ${now}, '', ${now} where ${unmoved} on conflict do nothing`),
    ),
    db
      .update(webhooks)
      .set({ cursor })
      .where(and(eq(webhooks.id, webhook.id), eq(webhooks.cursor, webhook.cursor))),
  ]);
}

export interface Due {
  row: QueueRow;
  webhook: WebhookRow;
  event: KeptEvent;
}

/** What is to be sent now, oldest first; nothing for webhooks that are disabled. */
export const listDue = (db: Db, now: string, limit: number): Promise<Due[]> =>
  guardDb(() =>
    db
      .select({
        row: getTableColumns(webhookQueue),
        webhook: getTableColumns(webhooks),
        event: getTableColumns(events),
      })
      .from(webhookQueue)
      .innerJoin(webhooks, eq(webhooks.id, webhookQueue.webhookId))
      .innerJoin(events, eq(events.seq, webhookQueue.eventSeq))
      .where(and(eq(webhookQueue.status, 'waiting'), lte(webhookQueue.dueAt, now), eq(webhooks.enabled, true)))
      .orderBy(asc(webhookQueue.dueAt), asc(webhookQueue.eventSeq))
      .limit(limit),
  );

const isThis = (row: QueueRow) =>
  and(
    eq(webhookQueue.webhookId, row.webhookId),
    eq(webhookQueue.eventSeq, row.eventSeq),
    eq(webhookQueue.dueAt, row.dueAt),
  );

/** The row with one more attempt, for whoever is first; undefined for the others. Until `dueAt` nobody else tries. */
export async function claimDue(db: Db, row: QueueRow, dueAt: string): Promise<QueueRow | undefined> {
  const change = { dueAt, attempts: row.attempts + 1 };
  const claimed = await guardDb(() =>
    db
      .update(webhookQueue)
      .set(change)
      .where(and(isThis(row), eq(webhookQueue.status, 'waiting')))
      .returning(),
  );
  return claimed[0];
}

export async function settleDue(
  db: Db,
  row: QueueRow,
  change: Pick<QueueRow, 'status' | 'lastResult'> & { dueAt?: string },
): Promise<void> {
  await guardDb(() => db.update(webhookQueue).set(change).where(isThis(row)));
}
