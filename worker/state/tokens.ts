/** Join and certificate tokens: hashes of secrets, alive while their operation runs. */
import { and, eq, isNull, type SQL, sql } from 'drizzle-orm';
import { RUNNING } from '#worker/domain/operation.ts';
import type { Db } from './db.ts';
import { operations, tokens } from './schema.ts';
import type { Statement } from './statement.ts';

export type TokenRow = typeof tokens.$inferSelect;

/** The token with this secret, used and expired ones too, and whether its operation still runs. */
export async function findToken(
  db: Db,
  kind: TokenRow['kind'],
  secretHash: string,
): Promise<(TokenRow & { running: boolean }) | undefined> {
  const row = await db
    .select({ token: tokens, status: operations.status })
    .from(tokens)
    .leftJoin(operations, eq(operations.id, tokens.operationId))
    .where(and(eq(tokens.kind, kind), eq(tokens.secretHash, secretHash)))
    .get();
  return row && { ...row.token, running: row.status === RUNNING };
}

/** Join tokens for this member that wait to be used. */
export async function listWaitingJoinTokens(db: Db, member: string): Promise<TokenRow[]> {
  return db
    .select()
    .from(tokens)
    .where(and(eq(tokens.kind, 'join'), eq(tokens.name, member), isNull(tokens.usedAt)))
    .all();
}

export const insertToken = (db: Db, row: typeof tokens.$inferInsert): Statement => db.insert(tokens).values(row);

/**
 * Takes the token for `by`, if nobody has, it has not expired and its operation runs. Whether that happened is what
 * `tokenTakenBy` says to the rest of the batch.
 */
export const takeToken = (operationId: string, by: string, now: string): SQL =>
  sql`update tokens set used_at = ${now}, used_by = ${by}
    where operation_id = ${operationId} and used_at is null and (expires_at is null or expires_at > ${now})
      and exists (select 1 from operations where id = ${operationId} and status = ${RUNNING})`;

/** A condition for statements after `takeToken` in the same batch: true when this very batch took it. */
export const tokenTakenBy = (operationId: string, by: string, now: string): SQL =>
  sql`exists (select 1 from tokens where operation_id = ${operationId} and used_by = ${by} and used_at = ${now})`;
