/** Keys of creating requests, and the answers to repeat. */
import { and, eq } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import { idempotencyKeys } from './schema.ts';

export type IdempotencyRow = typeof idempotencyKeys.$inferSelect;

/** True when this request is the first with the key: only one of several at a time is. */
export async function claimKey(db: Db, row: Omit<IdempotencyRow, 'answer'>): Promise<boolean> {
  const claimed = await guardDb(() =>
    db.insert(idempotencyKeys).values(row).onConflictDoNothing().returning({ id: idempotencyKeys.id }),
  );
  return claimed.length > 0;
}

export const findKey = (db: Db, id: string): Promise<IdempotencyRow | undefined> =>
  guardDb(() => db.select().from(idempotencyKeys).where(eq(idempotencyKeys.id, id)).get());

/** The key as long as this attempt holds it. */
const isOurs = ({ id, claimedAt }: Pick<IdempotencyRow, 'id' | 'claimedAt'>) =>
  and(eq(idempotencyKeys.id, id), eq(idempotencyKeys.claimedAt, claimedAt));

/** True for the one that takes over from an attempt which has not come back. */
export async function takeOver(db: Db, row: IdempotencyRow, claimedAt: string): Promise<boolean> {
  const taken = await guardDb(() =>
    db.update(idempotencyKeys).set({ claimedAt }).where(isOurs(row)).returning({ id: idempotencyKeys.id }),
  );
  return taken.length > 0;
}

export async function keepAnswer(db: Db, attempt: Pick<IdempotencyRow, 'id' | 'claimedAt'>, answer: string) {
  await guardDb(() => db.update(idempotencyKeys).set({ answer }).where(isOurs(attempt)));
}

/** Nothing was made: the key is as good as new. */
export async function releaseKey(db: Db, attempt: Pick<IdempotencyRow, 'id' | 'claimedAt'>): Promise<void> {
  await guardDb(() => db.delete(idempotencyKeys).where(isOurs(attempt)));
}
