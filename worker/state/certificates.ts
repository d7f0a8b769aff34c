/** The trust store. */
import { asc, eq, like } from 'drizzle-orm';
import type { Db } from './db.ts';
import { certificates } from './schema.ts';
import type { Statement } from './statement.ts';

export type CertificateRow = typeof certificates.$inferSelect;
export type NewCertificate = typeof certificates.$inferInsert;

export async function findCertificate(db: Db, fingerprint: string): Promise<CertificateRow | undefined> {
  return db.select().from(certificates).where(eq(certificates.fingerprint, fingerprint)).get();
}

/** At most two: enough to tell one from many. The prefix must be hex, so that it holds no wildcard. */
export async function findCertificatesByPrefix(db: Db, prefix: string): Promise<CertificateRow[]> {
  return db
    .select()
    .from(certificates)
    .where(like(certificates.fingerprint, `${prefix}%`))
    .limit(2)
    .all();
}

export async function listCertificates(db: Db): Promise<CertificateRow[]> {
  return db.select().from(certificates).orderBy(asc(certificates.createdAt), asc(certificates.fingerprint)).all();
}

/** Fails with a unique violation when the fingerprint is there already. */
export const insertCertificate = (db: Db, row: NewCertificate): Statement => db.insert(certificates).values(row);

export const updateCertificate = (
  db: Db,
  fingerprint: string,
  values: Partial<Pick<CertificateRow, 'name' | 'type' | 'restricted' | 'projects'>>,
): Statement => db.update(certificates).set(values).where(eq(certificates.fingerprint, fingerprint));

export const deleteCertificate = (db: Db, fingerprint: string): Statement =>
  db.delete(certificates).where(eq(certificates.fingerprint, fingerprint));
