/** What the server's configuration says about logging in by OIDC. */
import { eq, inArray } from 'drizzle-orm';
import { OIDC_KEYS, type OidcMode, oidcMode } from '#worker/domain/oidc.ts';
import { findServerConfig } from './config.ts';
import { type Db, guardDb, runBatch } from './db.ts';
import { serverConfig } from './schema.ts';
import { hasUsers } from './users.ts';

const KEYS = OIDC_KEYS.map(([key]) => key);

/** How people log in now. One round trip. */
export async function readOidcMode(db: Db): Promise<OidcMode> {
  const [rows, anybody] = await Promise.all([
    guardDb(() => db.select().from(serverConfig).where(inArray(serverConfig.key, KEYS)).all()),
    hasUsers(db),
  ]);
  return oidcMode(Object.fromEntries(rows.map(({ key, value }) => [key, value])), anybody);
}

/** Below `internal.`, so that it is no configuration. */
const KEY_PAIR = 'internal.oidc-key';

export const findOidcKey = (db: Db): Promise<string | undefined> => guardDb(() => findServerConfig(db, KEY_PAIR));

/** Stores the pair in the place of `before` (null: of none). Does nothing when somebody else has done so meanwhile. */
export async function replaceOidcKey(db: Db, before: string | null, value: string): Promise<void> {
  await runBatch(db, [
    db
      .insert(serverConfig)
      .values({ key: KEY_PAIR, value })
      .onConflictDoUpdate({ target: serverConfig.key, set: { value }, setWhere: eq(serverConfig.value, before ?? '') }),
  ]);
}
