/**
 * A pool that is one directory, mounted at the pool's mount point unless it is that directory already.
 *
 * The file `.longshore-pool` in its root, written into the empty directory first of all, says whose it is: an interrupted
 * attempt is recognised by it, and somebody else's directory is refused.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { conflict, failed } from '#protocol/errors.ts';
import type { Exec } from '../../system/exec.ts';
import { errorCode, listDirectory, removeEmptyDirectory } from '../../system/fs.ts';
import { findMount } from '../../system/mounts.ts';
import { makePassage, type PoolLayout } from './layout.ts';

export interface RootedPool {
  create(): Promise<Record<string, string>>;
  open(): Promise<void>;
  /** The root is at its place: mounted where it has to be, with its marker. */
  isOpen(): Promise<boolean>;
  /** As the driver's `growPool`; the pool is open. */
  grow(sizeBytes: number): Promise<void>;
  /** Unmounts and removes what `create` made; the volumes are gone already. */
  delete(): Promise<void>;
}

const MARKER = '.longshore-pool';

async function findOwner(directory: string): Promise<string | null> {
  try {
    return (await readFile(join(directory, MARKER), 'utf8')).trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Takes an empty directory for the pool, or finds it taken by the same pool. `refusal` is the error for one that holds
 * something else.
 */
export async function claim(directory: string, pool: string, refusal: () => Error): Promise<void> {
  const owner = await findOwner(directory);
  if (owner === pool) return;
  if (owner !== null && owner !== '') throw conflict(`"${directory}" belongs to storage pool "${owner}"`);
  const content = (await listDirectory(directory)).filter((name) => name !== MARKER && name !== 'lost+found');
  if (content.length > 0) throw refusal();
  await writeFile(join(directory, MARKER), `${pool}\n`, { mode: 0o600 });
}

/** Whether the directory is the pool's. */
export const isClaimed = async (directory: string, pool: string) => (await findOwner(directory)) === pool;

/** Gives the directory back. */
export const disclaim = (directory: string) => rm(join(directory, MARKER), { force: true });

/** Mounts at the pool's mount point, unless something is mounted there; `args` are those of `mount` before the target. */
export async function mountRoot(exec: Exec, layout: PoolLayout, args: readonly string[]): Promise<void> {
  if ((await findMount(layout.mount)) !== undefined) return;
  await makePassage(layout.mount);
  await exec('mount', [...args, layout.mount]);
}

/** Unmounts the pool's mount point and removes it; throws `failed` while something uses it. */
export async function unmountRoot(exec: Exec, layout: PoolLayout): Promise<void> {
  while ((await findMount(layout.mount)) !== undefined) {
    try {
      await exec('umount', ['--', layout.mount]);
    } catch (error) {
      throw failed(`Failed unmounting storage pool: ${layout.mount} is in use`, error);
    }
  }
  await removeEmptyDirectory(layout.mount);
}
