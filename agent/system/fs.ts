/** File system questions whose "no" is an ordinary answer; any other failure is thrown. */
import { lstat, readdir, rmdir, statfs } from 'node:fs/promises';

/** The errno name of a file system error, or undefined for anything else. */
export function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

export type PathKind = 'file' | 'directory' | 'symlink' | 'block' | 'other';

/** What is at `path`, without following a symbolic link there; null when nothing is. */
export async function findPathKind(path: string): Promise<PathKind | null> {
  try {
    const found = await lstat(path);
    if (found.isFile()) return 'file';
    if (found.isDirectory()) return 'directory';
    if (found.isSymbolicLink()) return 'symlink';
    return found.isBlockDevice() ? 'block' : 'other';
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return null;
    throw error;
  }
}

/** The names in a directory; none when there is no such directory. */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Removes an empty directory; one that is gone already is fine. Throws when it holds something or is mounted. */
export async function removeEmptyDirectory(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
}

export interface FileSystemUsage {
  /** The magic number of the type (`statfs(2)`). */
  type: number;
  usedBytes: number;
  totalBytes: number;
  freeBytes: number;
  inodes: { used: number; total: number };
}

/** Size and type of the file system that holds `path`. */
export async function readFileSystemUsage(path: string): Promise<FileSystemUsage> {
  const found = await statfs(path);
  return {
    type: found.type,
    usedBytes: (found.blocks - found.bfree) * found.bsize,
    totalBytes: found.blocks * found.bsize,
    freeBytes: found.bavail * found.bsize,
    inodes: { used: found.files - found.ffree, total: found.files },
  };
}
