/** Bearer tokens that are good. */
import { asc, eq, sql } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import { accessTokens } from './schema.ts';
import type { Statement } from './statement.ts';

export type AccessTokenRow = typeof accessTokens.$inferSelect;

/** Undefined for one that was never issued, or revoked. An expired one may still be there. */
export const findAccessToken = (db: Db, id: string): Promise<AccessTokenRow | undefined> =>
  guardDb(() => db.select().from(accessTokens).where(eq(accessTokens.id, id)).get());

/** Oldest first. */
export const listAccessTokens = (db: Db): Promise<AccessTokenRow[]> =>
  guardDb(() => db.select().from(accessTokens).orderBy(asc(accessTokens.createdAt), asc(accessTokens.id)));

export const insertAccessToken = (db: Db, row: AccessTokenRow): Statement => db.insert(accessTokens).values(row);

export const deleteAccessToken = (db: Db, id: string): Statement =>
  db.delete(accessTokens).where(eq(accessTokens.id, id));

/** Those that are no good any more. */
export const deleteExpiredAccessTokens = (db: Db, now: string): Statement =>
  db.delete(accessTokens).where(sql`${accessTokens.expiresAt} <= ${now}`);
