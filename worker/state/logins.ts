/**
 * Logins of programs at the built-in issuer. A program asks for one (`device_logins`), a person allows it, the program
 * fetches it (`user_logins`), once. Each step is one guarded statement, so of two that come at once one has no effect.
 */
import { and, eq, getTableColumns, gt, sql } from 'drizzle-orm';
import { type Db, guardDb, runBatch } from './db.ts';
import { deviceLogins, serverConfig, userLogins, users } from './schema.ts';
import type { UserRow } from './users.ts';

export type DeviceLoginRow = typeof deviceLogins.$inferSelect;
export type LoginRow = typeof userLogins.$inferSelect;

/** Anybody may ask: more than this at once is somebody who fills the table. */
const WAITING = { perAddress: 20, altogether: 10_000 } as const;

/** False when too many wait already. Those whose time is over are forgotten with it. */
export async function insertDeviceLogin(
  db: Db,
  row: Pick<DeviceLoginRow, 'deviceHash' | 'userCode' | 'address' | 'createdAt' | 'expiresAt'>,
): Promise<boolean> {
  await runBatch(db, [
    db.run(sql`delete from device_logins where expires_at <= ${row.createdAt}`),
    db.run(sql`insert into device_logins (device_hash, user_code, address, created_at, expires_at)
      select ${row.deviceHash}, ${row.userCode}, ${row.address}, ${row.createdAt}, ${row.expiresAt}
      where (select count(*) from device_logins) < ${WAITING.altogether}
        and (select count(*) from device_logins where address = ${row.address}) < ${WAITING.perAddress}
      on conflict do nothing`),
  ]);
  return (await findDeviceLogin(db, row.deviceHash)) !== undefined;
}

/** Expired ones too. */
export const findDeviceLogin = (db: Db, deviceHash: string): Promise<DeviceLoginRow | undefined> =>
  guardDb(() => db.select().from(deviceLogins).where(eq(deviceLogins.deviceHash, deviceHash)).get());

/** One that a person has not decided on yet. */
export const findWaitingLogin = (db: Db, userCode: string, now: string): Promise<DeviceLoginRow | undefined> =>
  guardDb(() =>
    db
      .select()
      .from(deviceLogins)
      .where(
        and(
          eq(deviceLogins.userCode, userCode),
          gt(deviceLogins.expiresAt, now),
          sql`${deviceLogins.userName} is null and not ${deviceLogins.denied}`,
        ),
      )
      .get(),
  );

/** Allows or denies it in the user's name; false when it was decided or expired before, or the user is gone. */
export async function decideLogin(
  db: Db,
  userCode: string,
  decision: { userName: string; allow: boolean; now: string },
): Promise<boolean> {
  const { userName, allow, now } = decision;
  const change = allow ? { userName } : { denied: true };
  const decided = await guardDb(() =>
    db
      .update(deviceLogins)
      .set(change)
      .where(
        and(
          eq(deviceLogins.userCode, userCode),
          gt(deviceLogins.expiresAt, now),
          sql`${deviceLogins.userName} is null and not ${deviceLogins.denied}`,
          sql`exists (select 1 from users where name = ${userName})`,
        ),
      )
      .returning({ userCode: deviceLogins.userCode }),
  );
  return decided.length > 0;
}

/**
 * Turns what was allowed into a login. Undefined when it was fetched before, denied, expired or never allowed, or when the
 * user is gone: then nothing is written. Expired logins are forgotten with it.
 */
export async function fetchLogin(
  db: Db,
  deviceHash: string,
  login: Omit<LoginRow, 'userName' | 'address'>,
): Promise<LoginRow | undefined> {
  const { id, refreshHash, createdAt, expiresAt } = login;
  await runBatch(db, [
    db.run(sql`delete from user_logins where expires_at <= ${createdAt}`),
    db.run(sql`insert into user_logins (id, user_name, refresh_hash, address, created_at, expires_at)
      select ${id}, d.user_name, ${refreshHash}, d.address, ${createdAt}, ${expiresAt}
      from device_logins d join users u on u.name = d.user_name
      where d.device_hash = ${deviceHash} and d.expires_at > ${createdAt} and not d.denied`),
    db.run(sql`delete from device_logins where device_hash = ${deviceHash} and user_name is not null`),
  ]);
  return guardDb(() => db.select().from(userLogins).where(eq(userLogins.id, id)).get());
}

/** What an access token of this login is good for, and whether the built-in issuer is the one that counts. */
export const findLogin = (
  db: Db,
  id: string,
): Promise<{ login: LoginRow; user: UserRow; elsewhere: string | null } | undefined> =>
  guardDb(() =>
    db
      .select({ login: getTableColumns(userLogins), user: getTableColumns(users), elsewhere: serverConfig.value })
      .from(userLogins)
      .innerJoin(users, eq(users.name, userLogins.userName))
      .leftJoin(serverConfig, eq(serverConfig.key, 'oidc.issuer'))
      .where(eq(userLogins.id, id))
      .get(),
  );

/** The login with this refresh token, while it and its user last. */
export const findLoginToRefresh = (db: Db, refreshHash: string, now: string): Promise<LoginRow | undefined> =>
  guardDb(() =>
    db
      .select(getTableColumns(userLogins))
      .from(userLogins)
      .innerJoin(users, eq(users.name, userLogins.userName))
      .where(and(eq(userLogins.refreshHash, refreshHash), gt(userLogins.expiresAt, now)))
      .get(),
  );
