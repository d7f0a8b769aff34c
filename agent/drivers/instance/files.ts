/**
 * Files inside an instance's root, which may be hostile in every way.
 *
 * Invariants: every path is walked by the kernel with the root as `/` (openat2); what exists is looked at through an
 * O_PATH descriptor before it is opened, so a FIFO cannot block us and a device is never touched; what is made, is made
 * through a descriptor of its parent with a last component that is not followed.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  type Stats,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { posix } from 'node:path';
import { AppError, badRequest, conflict, failed } from '#protocol/errors.ts';
import { asFileOwner, O_PATH, openInRoot } from '../../system/openat2.ts';
import type { InstanceRoot } from './driver.ts';

const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const PERMISSION_BITS = 0o7777;
/** As many dangling links in a row as we go along when a file is made at their end. */
const MAX_DANGLING_LINKS = 8;

export interface FileStat {
  type: 'file' | 'directory' | 'symlink' | 'other';
  /** Permission bits. */
  mode: number;
  /** Owner as the container sees it. */
  uid: number;
  gid: number;
  size: number;
  mtime: Date;
}

export interface NewOwner {
  uid: number;
  gid: number;
}

const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';

const REASONS: Record<string, string> = {
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EROFS: 'Read-only file system',
  ENOSPC: 'No space left on device',
  EDQUOT: 'Disk quota exceeded',
  ENOTEMPTY: 'Directory not empty',
  EBUSY: 'Device or resource busy',
  EISDIR: 'Is a directory',
  EOVERFLOW: "Owner is outside of the instance's id map",
};

/** The error to throw for a failed system call on `path`. */
export function explain(error: unknown, path: string): unknown {
  if (error instanceof AppError) return error;
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return new AppError('not_found', 'Not Found', { cause: error });
  if (code === 'EEXIST') return conflict(`File "${path}" already exists`, error);
  if (code === 'ELOOP' || code === 'EXDEV' || code === 'EINVAL' || code === 'ENAMETOOLONG') {
    return badRequest(`Invalid path "${path.replaceAll('\0', '\\0')}"`, error);
  }
  const reason = REASONS[code];
  return reason === undefined ? error : failed(`${reason}: "${path}"`, error);
}

/** Runs `act`, and throws what `explain` makes of its failure. */
export function guarded<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw explain(error, path);
  }
}

/** Closes `fd` after its use, whichever way that ends. */
export function withFd<T>(fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** The last component's name with an open parent; `at` is a path that the kernel takes without following the name. */
export function inParent<T>(root: InstanceRoot, path: string, act: (at: string) => T): T {
  const clean = `/${path}`.replace(/\/+$/, '');
  const slash = clean.lastIndexOf('/');
  const name = clean.slice(slash + 1);
  if (name === '' || name === '.' || name === '..' || name.includes('\0')) {
    throw badRequest(`Invalid path "${path.replaceAll('\0', '\\0')}"`);
  }
  const parent = openInRoot(root.fd, clean.slice(0, slash) || '/', O_PATH | O_DIRECTORY);
  return withFd(parent, (fd) => act(`/proc/self/fd/${fd}/${name}`));
}

function typeOf(stats: Stats): FileStat['type'] {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'other';
}

/** Like lstat: the last component is not followed. Throws `not_found`. */
export const statInRoot = (root: InstanceRoot, path: string): FileStat =>
  guarded(path, () =>
    withFd(openInRoot(root.fd, path, O_PATH | O_NOFOLLOW), (fd) => {
      const stats = fstatSync(fd);
      return {
        type: typeOf(stats),
        mode: stats.mode & PERMISSION_BITS,
        uid: root.fromHostUid(stats.uid),
        gid: root.fromHostGid(stats.gid),
        size: stats.size,
        mtime: stats.mtime,
      };
    }),
  );

/** What the host sees at `path`, links followed; null when there is nothing. */
export const statPathInRoot = (root: InstanceRoot, path: string): Stats | null =>
  guarded(path, () => {
    try {
      return withFd(openInRoot(root.fd, path, O_PATH), (fd) => fstatSync(fd));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null;
      throw error;
    }
  });

/** Reopens what an O_PATH descriptor holds, when it is a regular file. */
function reopenFile(probe: number, path: string, flags: number): number {
  const stats = fstatSync(probe);
  if (stats.isDirectory()) throw badRequest(`"${path}" is a directory`);
  if (!stats.isFile()) throw badRequest(`"${path}" is not a regular file`);
  return openSync(`/proc/self/fd/${probe}`, flags | O_NONBLOCK);
}

/** Opens a regular file for reading; the caller closes the descriptor. Throws `not_found`; `bad_request` for anything else. */
export const openFileInRoot = (root: InstanceRoot, path: string): number =>
  guarded(path, () => withFd(openInRoot(root.fd, path, O_PATH), (probe) => reopenFile(probe, path, O_RDONLY)));

/** Gives a fresh file exactly the owner and mode asked for: a set-gid parent and our umask may have had their say. */
function settle(fd: number, uid: number, gid: number, mode: number): void {
  const stats = fstatSync(fd);
  if (stats.uid !== uid || stats.gid !== gid) fchownSync(fd, uid, gid);
  fchmodSync(fd, mode & PERMISSION_BITS);
}

/** What becomes of the content that is there: emptied, unless it is appended to or left for the caller to overwrite and cut. */
interface ExistingContent {
  append?: boolean;
  keep?: boolean;
}

function openExisting(root: InstanceRoot, path: string, { append, keep }: ExistingContent): number | null {
  let probe: number;
  try {
    probe = openInRoot(root.fd, path, O_PATH);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
  return withFd(probe, (fd) => reopenFile(fd, path, O_WRONLY | (append ? O_APPEND : keep ? 0 : O_TRUNC)));
}

/**
 * Opens a file for writing, making it when it is not there. An existing one is emptied unless told otherwise, and keeps owner
 * and mode. The caller closes the descriptor. Throws `not_found` when the parent is missing.
 */
export function createFileInRoot(
  root: InstanceRoot,
  path: string,
  options: ExistingContent & { mode?: number | null; uid?: number | null; gid?: number | null } = {},
): { fd: number; existed: boolean } {
  const uid = root.toHostUid(options.uid ?? 0);
  const gid = root.toHostGid(options.gid ?? 0);
  const create = (target: string, linksLeft: number): { fd: number; existed: boolean } => {
    const existing = openExisting(root, target, options);
    if (existing !== null) return { fd: existing, existed: true };
    let link: string | null = null;
    const made = inParent(root, target, (at) => {
      try {
        return asFileOwner(uid, gid, () => openSync(at, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
      } catch (error) {
        if (codeOf(error) !== 'EEXIST' || linksLeft === 0) throw error;
        link = readlinkSync(at);
        return null;
      }
    });
    if (made === null) {
      const next = link ?? target;
      return create(next.startsWith('/') ? next : `${posix.dirname(`/${target}`)}/${next}`, linksLeft - 1);
    }
    try {
      settle(made, uid, gid, options.mode ?? 0o644);
    } catch (error) {
      closeSync(made);
      throw error;
    }
    return { fd: made, existed: false };
  };
  return guarded(path, () => create(path, MAX_DANGLING_LINKS));
}

/** Opens a directory; the caller closes the descriptor. Throws `not_found`, also for what is no directory. */
export const openDirectoryInRoot = (root: InstanceRoot, path: string): number =>
  guarded(path, () => openInRoot(root.fd, path, O_RDONLY | O_DIRECTORY));

/** Names in a directory, sorted, without `.` and `..`. */
export const listDirectoryInRoot = (root: InstanceRoot, path: string): string[] =>
  guarded(path, () =>
    withFd(openInRoot(root.fd, path, O_PATH | O_DIRECTORY), (fd) => readdirSync(`/proc/self/fd/${fd}`).sort()),
  );

/** Makes one directory; an existing one is left as it is. Throws `not_found` when the parent is missing. */
export function makeDirectoryInRoot(root: InstanceRoot, path: string, options: { mode: number } & NewOwner): void {
  const uid = root.toHostUid(options.uid);
  const gid = root.toHostGid(options.gid);
  const exists = () => {
    try {
      closeSync(openInRoot(root.fd, path, O_PATH | O_DIRECTORY));
      return true;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
  };
  guarded(path, () => {
    if (exists()) return;
    inParent(root, path, (at) => {
      asFileOwner(uid, gid, () => mkdirSync(at, { mode: 0o700 }));
      lchownSync(at, uid, gid);
      withFd(openInRoot(root.fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW), (fd) =>
        chmodSync(`/proc/self/fd/${fd}`, options.mode & PERMISSION_BITS),
      );
    });
  });
}

/** Makes a symlink; one that already leads to `target` is fine, anything else there is `conflict`. */
export function makeSymlinkInRoot(root: InstanceRoot, path: string, target: string, owner: NewOwner): void {
  const uid = root.toHostUid(owner.uid);
  const gid = root.toHostGid(owner.gid);
  guarded(path, () =>
    inParent(root, path, (at) => {
      try {
        asFileOwner(uid, gid, () => symlinkSync(target, at));
        lchownSync(at, uid, gid);
      } catch (error) {
        if (codeOf(error) !== 'EEXIST' || readLink(at) !== target) throw error;
      }
    }),
  );
}

function readLink(at: string): string | null {
  try {
    return readlinkSync(at);
  } catch {
    return null;
  }
}

/** Removes a file, a link (not what it leads to) or an empty directory. Throws `not_found`; `failed` when not empty. */
export function removeInRoot(root: InstanceRoot, path: string): void {
  const { type } = statInRoot(root, path);
  guarded(path, () => inParent(root, path, (at) => (type === 'directory' ? rmdirSync(at) : unlinkSync(at))));
}

/** Where a symlink leads, as an absolute path inside the root; a dangling one is resolved as text. */
export const resolveLinkInRoot = (root: InstanceRoot, path: string): string =>
  guarded(path, () => {
    const target = inParent(root, path, (at) => readlinkSync(at));
    const asText = posix.resolve(posix.dirname(posix.resolve('/', path)), target);
    let fd: number;
    try {
      fd = openInRoot(root.fd, path, O_PATH);
    } catch {
      return asText;
    }
    return withFd(fd, () => {
      const top = readlinkSync(`/proc/self/fd/${root.fd}`).replace(/\/$/, '');
      const full = readlinkSync(`/proc/self/fd/${fd}`);
      if (full === top) return '/';
      return full.startsWith(`${top}/`) ? full.slice(top.length) : asText;
    });
  });
