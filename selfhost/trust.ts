/**
 * The first trusted client of a fresh control plane: somebody must be let in before anybody can ask. Written straight into
 * the trust store by the one who owns the machine; everything after it goes through the API.
 */
import { createClient } from '@libsql/client';
import { fingerprintOf } from './certificate.ts';
import type { Database } from './migrate.ts';

/** Adds the certificate (PEM) as an unrestricted client, once. */
export async function trustClient(database: Database, name: string, certificate: string): Promise<void> {
  const client = createClient(database);
  try {
    await client.execute({
      sql: `INSERT OR IGNORE INTO certificates (fingerprint, type, name, restricted, projects, certificate, created_at)
            VALUES (?, 'client', ?, 0, '[]', ?, ?)`,
      args: [fingerprintOf(certificate), name, certificate, new Date().toISOString()],
    });
  } finally {
    client.close();
  }
}
