/**
 * Replicas of the database, kept by the control plane: sqld processes that follow the primary over gRPC. sqld checks no token
 * there, so both ends show a certificate of an authority that belongs to this data directory alone.
 */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { run } from './run.ts';

/** Paths of one certificate, its key, and the authority that both ends trust. */
export interface PeerFiles {
  certificate: string;
  key: string;
  authority: string;
}

/** The one name that sqld expects of its peers, wherever they are. */
const PEER_NAME = 'sqld';
const DAYS = '3650';
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-sha256'];

/** The peers' certificate below `dir`, made at the first call. Copy its files to a replica on another machine. */
export async function ensurePeerFiles(dir: string): Promise<PeerFiles> {
  const home = path.join(dir, 'replication');
  const files = {
    certificate: path.join(home, 'peer.crt'),
    key: path.join(home, 'peer.key'),
    authority: path.join(home, 'authority.crt'),
  };
  if (!existsSync(home)) {
    const fresh = `${home}.new`;
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { recursive: true, mode: 0o700 });
    await issue(fresh);
    await rename(fresh, home);
  }
  return files;
}

/** The authority's key is thrown away: nothing else is ever to be signed by it. */
async function issue(dir: string): Promise<void> {
  const at = (name: string) => path.join(dir, name);
  const authority = ['-keyout', at('authority.key'), '-out', at('authority.crt')];
  await run('openssl', ['req', '-x509', ...EC, '-days', DAYS, '-subj', '/O=Longshore/CN=replication', ...authority]);
  const peer = ['-keyout', at('peer.key'), '-out', at('peer.csr')];
  await run('openssl', ['req', ...EC, '-subj', `/O=Longshore/CN=${PEER_NAME}`, ...peer]);
  await writeFile(at('peer.ext'), `subjectAltName=DNS:${PEER_NAME}\nextendedKeyUsage=serverAuth,clientAuth\n`);
  await run('openssl', [
    ...['x509', '-req', '-in', at('peer.csr'), '-CA', at('authority.crt'), '-CAkey', at('authority.key')],
    ...['-CAcreateserial', '-days', DAYS, '-extfile', at('peer.ext'), '-out', at('peer.crt')],
  ]);
  for (const name of ['authority.key', 'authority.srl', 'peer.csr', 'peer.ext']) await rm(at(name), { force: true });
}

/** Where the replica's files are. Numbers from 1. */
export const replicaDir = (dir: string, number: number): string => path.join(dir, `replica-${number}`);

/**
 * Makes replica `number` the database that the next start serves; the lost one is kept as `db.lost`. What the primary had
 * accepted and not yet sent to this replica is not in it: resolves to the time of its newest event, null when it has none. Only
 * while the control plane is stopped. Throws when there is no such replica, or a lost database from before stands in the way.
 */
export async function promoteReplica(dir: string, number: number): Promise<string | null> {
  const [replica, database] = [replicaDir(dir, number), path.join(dir, 'db')];
  const lost = `${database}.lost`;
  if (!existsSync(replica)) throw new Error(`There is no replica ${number}: ${replica} does not exist`);
  if (existsSync(lost)) throw new Error(`${lost} is in the way: move what you want to keep, and remove it`);
  const newest = await newestEvent(replica);
  if (existsSync(database)) await rename(database, lost);
  await rename(replica, database);
  return newest;
}

async function newestEvent(home: string): Promise<string | null> {
  const client = createClient({ url: `file:${path.join(home, 'dbs/default/data')}` });
  try {
    const { rows } = await client.execute('select max(timestamp) as newest from events');
    return typeof rows[0]?.newest === 'string' ? rows[0].newest : null;
  } finally {
    client.close();
  }
}
