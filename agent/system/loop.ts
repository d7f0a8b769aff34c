/** Files that stand in for a disk: the backing of pools that were given no source. */
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, readFileSystemUsage } from './fs.ts';

const GIB = 2 ** 30;

/** LXD's default size of such a file: a fifth of the free space, at least 5 GiB and at most 30 GiB. */
export function defaultDiskSizeBytes(freeBytes: number): number {
  const fifth = Math.floor(freeBytes / 5 / GIB);
  return Math.min(30, Math.max(5, fifth)) * GIB;
}

/** `defaultDiskSizeBytes` for the file system that holds `directory`. */
export async function chooseDiskSizeBytes(directory: string): Promise<number> {
  return defaultDiskSizeBytes((await readFileSystemUsage(directory)).freeBytes);
}

/**
 * Makes a sparse file, readable by root alone. Returns false when there is a file already, which is left as it is.
 */
export async function createSparseFile(path: string, sizeBytes: number): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.truncate(sizeBytes);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}
