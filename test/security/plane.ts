/** A real control plane with something of every kind in it, and nobody connected. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import { fingerprintOf, type KeyPair } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { waitFor } from '#selfhost/wait.ts';
import type { Db } from '#worker/state/db.ts';
import * as schema from '#worker/state/schema.ts';
import { makeCertificate } from './certificates.ts';
import { type Answered, createSender, type Identity, type Sender, type Sent } from './client.ts';
import { fill } from './world.ts';

export interface Plane {
  port: number;
  control: ControlPlane;
  /** For throw-away files. */
  dir: string;
  dataDir: string;
  db: Db;
  signingSecret: string;
  admin: KeyPair;
  as(identity: Identity): Sender;
  /** Puts a certificate into the trust store. */
  trust(certificate: string, fields?: Partial<typeof schema.certificates.$inferInsert>): Promise<void>;
  /** Everything that is kept: equal to another one when nothing was changed in between. */
  snapshot(): Promise<Record<string, string>>;
  stop(): Promise<void>;
}

export async function startPlane(): Promise<Plane> {
  const dir = await mkdtemp(path.join(tmpdir(), 'longshore-security-'));
  const dataDir = path.join(dir, 'data');
  const admin = await makeCertificate(dir, 'admin');
  const control = await startControlPlane({
    ...{ dataDir, listen: [{ host: '127.0.0.1', port: 0 }], addresses: ['127.0.0.1:8443'] },
    ...{ trust: [{ name: 'admin', certificate: admin.certificate }], logLevel: 'error', log: () => {} },
  });
  const { databaseToken, signingSecret } = await ensureSecrets(dataDir);
  const client = createClient({ url: `http://127.0.0.1:${control.databasePort}`, authToken: databaseToken });
  const db = drizzle({ client });
  const port = control.endpoints[0]?.port ?? 0;
  const senders: Sender[] = [];
  let addresses = 0;
  const trust: Plane['trust'] = async (certificate, fields = {}) => {
    const fingerprint = fingerprintOf(certificate);
    const row = {
      fingerprint,
      type: 'client' as const,
      name: fingerprint,
      certificate,
      createdAt: new Date().toISOString(),
    };
    await db.insert(schema.certificates).values({ ...row, projects: [], ...fields });
  };
  /** Guessing is slowed down, which would hide how each single guess is answered: who was told to wait comes from elsewhere. */
  const createWanderer = (identity: Identity): Sender => {
    const start = (from?: string) => {
      const sender = createSender(port, identity, from);
      senders.push(sender);
      return sender;
    };
    let current = start();
    const send = async (sent: Sent): Promise<Answered> => {
      for (;;) {
        const used = current;
        const answer = await used.send(sent);
        if (answer.status !== 429 || !answer.text.includes('Too many failed attempts')) return answer;
        if (current !== used) continue;
        addresses += 1;
        current = start(`127.1.${addresses >> 8}.${addresses & 255}`);
      }
    };
    return { send, close: () => current.close() };
  };
  const stop = async () => {
    for (const sender of senders) sender.close();
    client.close();
    await control.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await fill(db);
    // Offered a little after the start: no trace of an attack.
    await waitFor(
      'the release of the agent',
      () => listFiles(path.join(dataDir, 'blobs')).some((file) => /release/.test(file)),
      { timeoutMs: 60_000 },
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...{ port, control, dir, dataDir, db, signingSecret, admin, trust, stop },
    as: createWanderer,
    snapshot: async () => {
      const tables = await client.execute(
        "select name from sqlite_master where type = 'table' and name not glob '__*' and name not glob 'sqlite_*' order by name",
      );
      const names = tables.rows.map((row) => String(row.name));
      // Failures are counted, so that guessing gets slow: that is all a failure may write.
      const where = (name: string) => (name === 'server_config' ? "where key not glob 'internal.*'" : '');
      // How far a webhook has come with the events moves by itself.
      const columns = (name: string) =>
        name === 'webhooks' ? 'id, name, project, url, enabled, actions, secret' : '*';
      const answers = await client.batch(
        names.map((name) => `select ${columns(name)} from "${name}" ${where(name)} order by 1, 2`),
      );
      const rows = names.map((name, index) => [name, digest(answers[index]?.rows ?? [])] as const);
      const blobs = listFiles(path.join(dataDir, 'blobs'));
      // One file for each stream that was ever opened; those of the other objects are there for good.
      const streams = listFiles(path.join(dataDir, 'objects/longshore-stream')).filter(
        (file) => file !== 'metadata.sqlite',
      );
      return { ...Object.fromEntries(rows), blobs: digest(blobs), streams: digest(streams) };
    },
  };
}

/** Databases of objects that were there before grow files beside them. */
const listFiles = (dir: string): string[] =>
  existsSync(dir)
    ? readdirSync(dir, { recursive: true, encoding: 'utf8' })
        .filter((file) => !/-(wal|shm|journal)$/.test(file))
        .sort()
    : [];

const digest = (rows: readonly unknown[]): string =>
  `${rows.length} ${createHash('sha256').update(JSON.stringify(rows)).digest('hex').slice(0, 16)}`;
