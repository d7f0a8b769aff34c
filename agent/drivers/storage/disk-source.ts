/** The disk below a pool: a file made for it, or what the administrator named. */

import { stat, truncate } from 'node:fs/promises';
import type { PoolSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { Exec } from '../../system/exec.ts';
import { chooseDiskSizeBytes, createSparseFile } from '../../system/loop.ts';
import type { StorageDeps } from './layout.ts';

/** The smallest file that ZFS and btrfs both make something of. */
const MINIMUM_BYTES = 256 * 2 ** 20;

/** The pool's `size` in bytes, or LXD's default for the free space below `dataDir`; throws `bad_request`. */
export async function choosePoolSizeBytes(deps: { dataDir: string }, pool: PoolSpec): Promise<number> {
  const asked = pool.config.size;
  if (asked === undefined || asked === '') return chooseDiskSizeBytes(deps.dataDir);
  const sizeBytes = parseSizeBytes(asked);
  if (sizeBytes === null) throw badRequest(`Invalid value for config key "size": ${JSON.stringify(asked)}`);
  if (sizeBytes < MINIMUM_BYTES) throw badRequest('Storage pool size must be at least 256MiB');
  return sizeBytes;
}

/** `5368709120` → `5GiB`, as LXD writes its default; other sizes in bytes. */
export function formatSize(sizeBytes: number): string {
  return sizeBytes % 2 ** 30 === 0 ? `${sizeBytes / 2 ** 30}GiB` : `${sizeBytes}B`;
}

/** What the signatures on a disk or file say it holds (`ext4`, `zfs_member`, …); null for a blank one. */
export async function findContent(exec: Exec, path: string): Promise<string | null> {
  const { stdout } = await exec('wipefs', ['--noheadings', '--output', 'TYPE', '--', path]);
  return stdout.trim().split(/\s+/)[0] || null;
}

/** Throws `bad_request` when the disk holds something. */
export async function requireBlank(exec: Exec, path: string): Promise<void> {
  const content = await findContent(exec, path);
  if (content !== null) throw badRequest(`Source "${path}" isn't empty: it holds ${content}`);
}

/** Makes a backing file for the pool. One of an interrupted attempt is used again, whatever its size. */
export async function createPoolDisk(deps: StorageDeps, pool: PoolSpec, path: string): Promise<void> {
  await createSparseFile(path, await choosePoolSizeBytes(deps, pool));
}

/** The file is at least as large afterwards. Throws `bad_request` when it would have to shrink. */
export async function growPoolDisk(path: string, sizeBytes: number): Promise<void> {
  const { size } = await stat(path);
  if (sizeBytes < size) throw badRequest('The storage pool cannot be made smaller');
  if (sizeBytes > size) await truncate(path, sizeBytes);
}

/** LXD's refusal of a new size for a pool that is not on a file of its own. */
export const NOT_A_LOOP = 'Cannot resize non-loopback pools';

/** The `size` key of a pool on the file `path`. */
export const readDiskSize = async (path: string) => formatSize((await stat(path)).size);

/** The member's effective keys: LXD remembers what was asked in `volatile.initial_source`. */
export function effectiveConfig(pool: PoolSpec, decided: Record<string, string>): Record<string, string> {
  const asked = pool.config['volatile.initial_source'] || pool.config.source;
  return { ...decided, ...(asked ? { 'volatile.initial_source': asked } : {}) };
}
