/** Warnings: things a person should know of. The same one again only counts up; an acknowledged one stays quiet. */
import { and, asc, eq, type SQL, sql } from 'drizzle-orm';
import { newId } from '#worker/lib/id.ts';
import { type Db, guardDb, type Write } from './db.ts';
import { warnings } from './schema.ts';

export type WarningRow = typeof warnings.$inferSelect;

export interface WarningDraft {
  type: string;
  severity: WarningRow['severity'];
  location: string;
  project?: string;
  /** `/1.0/…` of what it is about. */
  entityUrl?: string;
  message: string;
  now: string;
}

export const OFFLINE_WARNING = 'Offline cluster member';
export const UNKNOWN_INSTANCE_WARNING = 'Instance unknown to the cluster';
export const BROKEN_INSTANCE_WARNING = 'Instance broken on its cluster member';

const dedupeKey = (warning: Pick<WarningDraft, 'type' | 'location' | 'entityUrl'>) =>
  JSON.stringify([warning.type, warning.location, warning.entityUrl ?? '']);

/** The statement that records it, when `when` holds: for batches. */
export function warningStatement(warning: WarningDraft, when: SQL = sql`true`): SQL {
  const { type, severity, location, project = '', entityUrl = '', message, now } = warning;
  return sql`insert into warnings (id, dedupe_key, type, severity, status, count, location, project, entity_url,
      last_message, first_seen_at, last_seen_at)
    select ${newId()}, ${dedupeKey(warning)}, ${type}, ${severity}, 'new', 1, ${location}, ${project}, ${entityUrl},
      ${message}, ${now}, ${now} where ${when}
    on conflict (dedupe_key) do update set count = count + 1, last_message = excluded.last_message,
      last_seen_at = excluded.last_seen_at,
      status = case when status = 'acknowledged' then status else 'new' end`;
}

/** Records a warning, or counts the one that is there. */
export async function recordWarning(db: Db, warning: WarningDraft): Promise<void> {
  await guardDb(() => db.run(warningStatement(warning)));
}

/** The statement that resolves a member's warnings of one type, when `when` holds. */
export const resolveStatement = (type: string, location: string, now: string, when: SQL = sql`true`): SQL =>
  sql`update warnings set status = 'resolved', last_seen_at = ${now}
    where type = ${type} and location = ${location} and status <> 'resolved' and ${when}`;

/** The statement that resolves the warnings of one type about one thing, when `when` holds. */
export const resolveEntityStatement = (type: string, entityUrl: string, now: string, when: SQL = sql`true`): SQL =>
  sql`update warnings set status = 'resolved', last_seen_at = ${now}
    where type = ${type} and entity_url = ${entityUrl} and status <> 'resolved' and ${when}`;

/** Warnings of a project and of none, oldest first; null: all. */
export async function listWarnings(db: Db, project: string | null): Promise<WarningRow[]> {
  const scope = project === null ? undefined : sql`${warnings.project} in ('', ${project})`;
  return await guardDb(() => db.select().from(warnings).where(scope).orderBy(asc(warnings.firstSeenAt)));
}

export async function findWarning(db: Db, id: string): Promise<WarningRow | undefined> {
  return await guardDb(() => db.select().from(warnings).where(eq(warnings.id, id)).get());
}

/** Acknowledged or new again; a resolved one is left alone. */
export const setWarningStatus = (db: Db, id: string, status: 'new' | 'acknowledged') =>
  db
    .update(warnings)
    .set({ status })
    .where(and(eq(warnings.id, id), sql`${warnings.status} <> 'resolved'`)) satisfies Write;

export const deleteWarning = (db: Db, id: string) => db.delete(warnings).where(eq(warnings.id, id)) satisfies Write;
