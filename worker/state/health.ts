/** A look at the database that costs next to nothing. */
import { type Db, guardDb } from './db.ts';
import { triggers } from './schema.ts';

/** Throws when the database does not answer, or was not migrated. */
export async function isReachable(db: Db): Promise<void> {
  await guardDb(() => db.select({ id: triggers.id }).from(triggers).limit(1));
}
