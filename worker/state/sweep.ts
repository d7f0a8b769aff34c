/** Whether anything may come due by itself. */
import { sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';

/** True while there is a webhook, or an instance that a trigger gave an end. */
export async function isSweepNeeded(db: Db): Promise<boolean> {
  const rows = await guardDb(() =>
    db.all<unknown>(sql`select 1 as one where exists (select 1 from webhooks)
      or exists (select 1 from trigger_launches l join instances i on i.id = l.instance_id where l.expires_at is not null)`),
  );
  return rows.length > 0;
}
