/**
 * A copy of what a control plane cannot be made again from: its database, and the keys that clients have pinned and secrets are
 * sealed with. One compressed tar file, for root alone. Image blobs are not in it: images can be imported again.
 */
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { makeFresh } from './private-file.ts';
import { run } from './run.ts';

const KEYS = ['server.crt', 'server.key', 'database.key', 'database.pub', 'signing.secret'];

/** Where sqld keeps the one database it has. */
const DATABASE = 'db/dbs/default/data';

async function inScratch<T>(near: string, work: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(path.join(near, 'longshore-backup-'));
  try {
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Writes the backup of the control plane below `dataDir`, which may run meanwhile: the database's copy is of one moment. */
export async function backUp(dataDir: string, file: string): Promise<void> {
  const source = path.join(dataDir, DATABASE);
  if (!existsSync(source)) throw new Error(`There is no control plane in ${dataDir}`);
  await inScratch(tmpdir(), async (dir) => {
    const client = createClient({ url: `file:${source}` });
    try {
      await client.execute({ sql: 'vacuum into ?', args: [path.join(dir, 'database')] });
    } finally {
      client.close();
    }
    for (const name of KEYS) await copyFile(path.join(dataDir, name), path.join(dir, name));
    const fresh = await makeFresh(path.resolve(file));
    await run('tar', ['-C', dir, '--owner=0', '--group=0', '-czf', fresh, 'database', ...KEYS]);
    await rename(fresh, file);
  });
}

/** Puts a backup in place for the next start. Throws when `dataDir` holds a control plane already: nothing is overwritten. */
export async function restore(dataDir: string, file: string): Promise<void> {
  const taken = ['db', ...KEYS].find((name) => existsSync(path.join(dataDir, name)));
  if (taken !== undefined) throw new Error(`${path.join(dataDir, taken)} exists: restore into an empty directory`);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await inScratch(dataDir, async (dir) => {
    await run('tar', ['-C', dir, '--no-same-owner', '-xzf', path.resolve(file), 'database', ...KEYS]);
    for (const name of KEYS) {
      await chmod(path.join(dir, name), 0o600);
      await rename(path.join(dir, name), path.join(dataDir, name));
    }
    const target = path.join(dataDir, DATABASE);
    await mkdir(path.dirname(target), { recursive: true, mode: 0o700 });
    await rename(path.join(dir, 'database'), target);
  });
}
