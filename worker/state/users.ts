/** People who log in by the built-in issuer. */
import { asc, eq } from 'drizzle-orm';
import { type Db, guardDb } from './db.ts';
import { deviceLogins, userLogins, users } from './schema.ts';
import type { Statement } from './statement.ts';

export type UserRow = typeof users.$inferSelect;

export const findUser = (db: Db, name: string): Promise<UserRow | undefined> =>
  guardDb(() => db.select().from(users).where(eq(users.name, name)).get());

export const listUsers = (db: Db): Promise<UserRow[]> =>
  guardDb(() => db.select().from(users).orderBy(asc(users.name)).all());

export const hasUsers = (db: Db): Promise<boolean> =>
  guardDb(async () => (await db.select({ name: users.name }).from(users).limit(1).get()) !== undefined);

/** Fails with a unique violation when there is one of that name. */
export const insertUser = (db: Db, row: UserRow): Statement => db.insert(users).values(row);

export const updateUser = (db: Db, name: string, change: Partial<Omit<UserRow, 'name'>>): Statement =>
  db.update(users).set(change).where(eq(users.name, name));

/** Ends what programs were allowed in their name. */
export const deleteLogins = (db: Db, name: string): Statement[] => [
  db.delete(userLogins).where(eq(userLogins.userName, name)),
  db.delete(deviceLogins).where(eq(deviceLogins.userName, name)),
];

/** With all that was allowed in their name, so that somebody else of that name later starts with nothing. */
export const deleteUser = (db: Db, name: string): Statement[] => [
  ...deleteLogins(db, name),
  db.delete(users).where(eq(users.name, name)),
];
