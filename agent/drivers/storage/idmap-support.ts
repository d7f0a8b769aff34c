/** Which file systems the kernel mounts with an id map. */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { errorCode, readFileSystemUsage } from '../../system/fs.ts';

/**
 * `statfs` magic → the first kernel whose driver sets FS_ALLOW_IDMAP. A table and not an attempt: trying needs a user
 * namespace and raw system calls, and what is not listed is simply run privileged. FUSE (zfs-fuse) and overlay never do.
 */
const FIRST_KERNEL: readonly { magic: number; kernel: readonly [number, number] }[] = [
  { magic: 0xef53, kernel: [5, 12] }, // ext4
  { magic: 0x58465342, kernel: [5, 12] }, // xfs
  { magic: 0x9123683e, kernel: [5, 15] }, // btrfs
  { magic: 0xf2f52010, kernel: [5, 18] }, // f2fs
  { magic: 0x01021994, kernel: [6, 3] }, // tmpfs
];
/** OpenZFS brings its own support, since 2.2. */
const FIRST_ZFS = [2, 2] as const;

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^(\d+)\.(\d+)/.exec(version);
  if (match === null) return false;
  return Number(match[1]) > major || (Number(match[1]) === major && Number(match[2]) >= minor);
}

/** Pure: does kernel `kernelRelease` mount a file system of this magic with an id map? */
export function kernelTakesIdmap(magic: number, kernelRelease: string): boolean {
  const row = FIRST_KERNEL.find((candidate) => candidate.magic === magic >>> 0);
  return row !== undefined && isAtLeast(kernelRelease, row.kernel);
}

/** Pure: does ZFS `zfsVersion` (null for zfs-fuse) on kernel `kernelRelease`? */
export function zfsTakesIdmap(zfsVersion: string | null, kernelRelease: string): boolean {
  return zfsVersion !== null && isAtLeast(zfsVersion, FIRST_ZFS) && isAtLeast(kernelRelease, [5, 12]);
}

/** Version of the kernel's ZFS module (`2.3.9-1`), or null where there is none: then `zfs` is zfs-fuse's. */
export async function findZfsModuleVersion(): Promise<string | null> {
  try {
    return (await readFile('/sys/module/zfs/version', 'utf8')).trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/** For the file system that holds `path`. */
export async function pathTakesIdmap(path: string): Promise<boolean> {
  return kernelTakesIdmap((await readFileSystemUsage(path)).type, release());
}

/** For ZFS on this host. */
export async function hostZfsTakesIdmap(): Promise<boolean> {
  return zfsTakesIdmap(await findZfsModuleVersion(), release());
}
