/** Brings a database to the current schema: forward only, one atomic batch. The Worker never does this. */
import { createClient } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import { migrate } from 'drizzle-orm/libsql/migrator';

export interface Database {
  url: string;
  authToken?: string;
}

/**
 * Applies what is missing. Two migrators at once are harmless: one wins, the other finds the tables there and its second try
 * has nothing to do. Migrations run with foreign keys off, so these are checked afterwards; throws when one is violated.
 */
export async function applyMigrations(database: Database, folder: string): Promise<void> {
  const client = createClient(database);
  try {
    const db = drizzle(client);
    await migrate(db, { migrationsFolder: folder }).catch(() => migrate(db, { migrationsFolder: folder }));
    const broken = await client.execute('PRAGMA foreign_key_check');
    if (broken.rows.length > 0) throw new Error(`The migration left ${broken.rows.length} broken references`);
  } finally {
    client.close();
  }
}
