/** Everything that a request could leave behind: resources, rows of the database, blobs, files of the hosts. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { createClient } from '@libsql/client';
import { ensureSecrets } from '#selfhost/keys.ts';
import { api } from './api.ts';
import { cluster } from './support.ts';

const RESOURCES = [
  'instances',
  'profiles?recursion=1',
  'storage-pools?recursion=1',
  'networks?recursion=1',
  'images',
  'images/aliases',
  'cluster/members',
  'certificates',
  'projects',
];
/** A refusal may be the end of an operation: that is history, like its command and its events, and pruned as such. */
const HISTORY = ['operations', 'commands', 'events'];
const FILES = `find /etc/longshore /var/lib/longshore /run/longshore /var/log/longshore /run/.own \
  -not -path '*/rootfs/*' -not -path '*/images*' -not -path '*/work/*' -not -name 'agent.db*' -not -name '*.new' | sort`;

async function countRows(): Promise<Record<string, unknown>> {
  const config = readFileSync(join(cluster.controlDir, 'run/workerd.capnp'), 'utf8');
  const port = /address = "127\.0\.0\.1:(\d+)"/.exec(config)?.[1];
  const { databaseToken } = await ensureSecrets(cluster.controlDir);
  const client = createClient({ url: `http://127.0.0.1:${port}`, authToken: databaseToken });
  try {
    const tables = await client.execute(
      "select name from sqlite_master where type = 'table' and name not glob '__*' and name not glob 'sqlite_*'",
    );
    const names = tables.rows.map((row) => String(row.name)).filter((name) => !HISTORY.includes(name));
    const counts = names.map((name) => [name, `select count(*) as n from "${name}"`] as const);
    const waiting = ['commands in work', "select count(*) as n from commands where status = 'waiting'"] as const;
    const running = ['operations in work', 'select count(*) as n from operations where status < 200'] as const;
    const all = [...counts, waiting, running];
    const answers = await client.batch(all.map(([, sql]) => sql));
    return Object.fromEntries(all.map(([name], index) => [name, answers[index]?.rows[0]?.n]));
  } finally {
    client.close();
  }
}

/** Equal to another one when nothing was left in between. */
export async function takeSnapshot(): Promise<unknown> {
  const [resources, rows, files] = await Promise.all([
    Promise.all(RESOURCES.map(async (kind) => (await api({ method: 'GET', path: `/1.0/${kind}` })).body.metadata)),
    countRows(),
    Promise.all([1, 2, 3].map(async (host) => (await cluster.host(host).exec(['sh', '-c', FILES])).stdout.split('\n'))),
  ]);
  return { resources, rows, blobs: readdirSync(join(cluster.controlDir, 'blobs'), { recursive: true }).sort(), files };
}

/** Longer than it takes until the last of what follows a launch is on the hosts: names elsewhere, the copies they keep. */
const QUIET_MS = 8_000;

/** One that does not change by itself any more. Throws when it never stops to. */
export async function takeQuietSnapshot(): Promise<unknown> {
  let last = await takeSnapshot();
  for (let turn = 0; turn < 12; turn += 1) {
    await setTimeout(QUIET_MS);
    const now = await takeSnapshot();
    if (isDeepStrictEqual(now, last)) return now;
    last = now;
  }
  throw new Error('The cluster does not come to rest');
}
