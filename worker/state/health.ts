/** A look at the database that costs next to nothing. */
import { sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';

/** Throws when the primary does not answer, or was not migrated. Not a plain read: a replica could answer that alone. */
export async function isReachable(db: Db): Promise<void> {
  await guardDb(() => db.all(sql`with one as (select id from triggers limit 1) select id from one`));
}
