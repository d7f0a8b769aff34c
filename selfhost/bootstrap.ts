/**
 * The right to be the first member. A control plane without members leaves a token in a file that only its administrator can
 * read; the database knows its hash. It is good as long as there is no member, and goes at the first start after that.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { z } from 'zod';
import type { Database } from './migrate.ts';
import { writePrivate } from './private-file.ts';

/** Where `longshore init` looks on the same machine: below the data directory of the systemd unit. */
export const BOOTSTRAP_FILE = 'bootstrap.token';
const KEY = 'internal.bootstrap-token';

const Stored = z.object({ secret: z.string().regex(/^[0-9a-f]{64}$/) });

/** Writes or removes `<dir>/bootstrap.token`. Its form is a join token's, without a name and an end. */
export async function ensureBootstrapToken(
  database: Database,
  dir: string,
  server: { fingerprint: string; addresses: readonly string[] },
): Promise<void> {
  const file = path.join(dir, BOOTSTRAP_FILE);
  const client = createClient(database);
  try {
    const { rows } = await client.execute('SELECT 1 FROM members LIMIT 1');
    if (rows.length > 0) {
      await client.execute({ sql: 'DELETE FROM server_config WHERE key = ?', args: [KEY] });
      await rm(file, { force: true });
      return;
    }
    const secret = (await readSecret(file)) ?? randomBytes(32).toString('hex');
    const token = { server_name: '', ...server, secret, expires_at: '0001-01-01T00:00:00Z' };
    await writePrivate(file, `${Buffer.from(JSON.stringify(token)).toString('base64')}\n`);
    await client.execute({
      sql: 'INSERT INTO server_config (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      args: [KEY, createHash('sha256').update(secret).digest('hex')],
    });
  } finally {
    client.close();
  }
}

async function readSecret(file: string): Promise<string | null> {
  if (!existsSync(file)) return null;
  try {
    const text = Buffer.from((await readFile(file, 'utf8')).trim(), 'base64').toString('utf8');
    return Stored.safeParse(JSON.parse(text)).data?.secret ?? null;
  } catch {
    return null;
  }
}
