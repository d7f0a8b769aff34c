/** Server configuration: cluster-wide keys, and keys local to one member under `<member>/<key>`. */
import { and, eq, like, lt, not, type SQL, sql } from 'drizzle-orm';
import { SILENCE_LIMIT_MS } from '#protocol/frames.ts';
import type { Config } from '#worker/domain/config.ts';
import { type Db, guardDb } from './db.ts';
import { serverConfig } from './schema.ts';
import type { Statement } from './statement.ts';

/** Keys of our own, which are no configuration. */
const internal = like(serverConfig.key, 'internal.%');

/** Every stored key, member-local ones with their prefix. */
export async function listServerConfig(db: Db): Promise<Config> {
  const rows = await db.select().from(serverConfig).where(not(internal)).all();
  return Object.fromEntries(rows.map((row) => [row.key, row.value]));
}

export async function findServerConfig(db: Db, key: string): Promise<string | undefined> {
  const row = await db.select().from(serverConfig).where(eq(serverConfig.key, key)).get();
  return row?.value;
}

export const putServerConfig = (db: Db, key: string, value: string): Statement =>
  db.insert(serverConfig).values({ key, value }).onConflictDoUpdate({ target: serverConfig.key, set: { value } });

export const deleteServerConfig = (db: Db, key: string): Statement =>
  db.delete(serverConfig).where(eq(serverConfig.key, key));

/** After how much silence a member is offline: `cluster.offline_threshold`, in ms; unset, what the link is made for. */
export async function readSilenceMs(db: Db): Promise<number> {
  const seconds = Number((await findServerConfig(db, 'cluster.offline_threshold')) ?? Number.NaN);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : SILENCE_LIMIT_MS;
}

/** A member's local keys follow its new name. */
export const renameMemberConfig = (db: Db, from: string, to: string): Statement =>
  db
    .update(serverConfig)
    .set({ key: sql`${`${to}/`} || substr(${serverConfig.key}, ${from.length + 2})` })
    .where(sql`substr(${serverConfig.key}, 1, ${from.length + 1}) = ${`${from}/`}`);

/**
 * Moves the time at which a source of failures owes nothing any more by `costMs`, to `mostMs` from now at most, and tells
 * it. Forgets those who owe nothing; of more than `rows` the ones that owe least.
 */
export async function addTrustDebt(
  db: Db,
  key: string,
  { now, costMs, mostMs, rows }: { now: string; costMs: number; mostMs: number; rows: number },
): Promise<string> {
  const later = (from: SQL, ms: number) => sql`strftime('%Y-%m-%dT%H:%M:%fZ', ${from}, ${`+${ms / 1000} seconds`})`;
  const raised = sql`min(${later(sql`max(${serverConfig.value}, ${now})`, costMs)}, ${later(sql`${now}`, mostMs)})`;
  const [added] = await guardDb(() =>
    db.batch([
      db
        .insert(serverConfig)
        .values({ key, value: later(sql`${now}`, costMs) })
        .onConflictDoUpdate({ target: serverConfig.key, set: { value: raised } })
        .returning({ owes: serverConfig.value }),
      db.delete(serverConfig).where(and(isTrustDebt, lt(serverConfig.value, now))),
      db.delete(serverConfig).where(
        sql`${serverConfig.key} in (select key from server_config where key like 'internal.trust-failures/%'
            order by value desc limit -1 offset ${rows})`,
      ),
    ]),
  );
  return added[0]?.owes ?? now;
}

const isTrustDebt = like(serverConfig.key, 'internal.trust-failures/%');
