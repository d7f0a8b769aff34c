import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ensureBootstrapToken } from '#selfhost/bootstrap.ts';

let dir: string;
const database = () => ({ url: `file:${join(dir, 'db')}`, authToken: '' });
const server = { fingerprint: 'a'.repeat(64), addresses: ['10.0.0.1:8443'] };
const file = () => join(dir, 'bootstrap.token');
const token = () => JSON.parse(Buffer.from(readFileSync(file(), 'utf8'), 'base64').toString());

async function sql(text: string) {
  const client = createClient(database());
  try {
    return (await client.execute(text)).rows;
  } finally {
    client.close();
  }
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'longshore-bootstrap-'));
  await sql('CREATE TABLE members (name text)');
  await sql('CREATE TABLE server_config (key text PRIMARY KEY, value text)');
});
afterEach(() => rmSync(dir, { recursive: true }));

it('is left for root alone, and only its hash is stored', async () => {
  await ensureBootstrapToken(database(), dir, server);
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(token()).toMatchObject({ server_name: '', ...server });
  const [row] = await sql('SELECT value FROM server_config');
  expect(row?.value).toBe(createHash('sha256').update(token().secret).digest('hex'));
});

it('stays the same over restarts, and follows the addresses', async () => {
  await ensureBootstrapToken(database(), dir, server);
  const { secret } = token();
  await ensureBootstrapToken(database(), dir, { ...server, addresses: ['10.0.0.2:8443'] });
  expect(token()).toMatchObject({ secret, addresses: ['10.0.0.2:8443'] });
});

it('is gone once there is a member', async () => {
  await ensureBootstrapToken(database(), dir, server);
  await sql("INSERT INTO members VALUES ('host1')");
  await ensureBootstrapToken(database(), dir, server);
  expect(existsSync(file())).toBe(false);
  expect(await sql('SELECT * FROM server_config')).toEqual([]);
});
