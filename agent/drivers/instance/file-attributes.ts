/** Attributes, names and links inside an instance's root; the invariants are those of `files.ts`. */
import {
  chmodSync,
  chownSync,
  constants,
  fstatSync,
  readlinkSync,
  renameSync,
  type Stats,
  truncateSync,
  utimesSync,
} from 'node:fs';
import { badRequest } from '#protocol/errors.ts';
import { asFileOwner, O_PATH, openInRoot } from '../../system/openat2.ts';
import type { InstanceRoot } from './driver.ts';
import { guarded, inParent, withFd } from './files.ts';

const PERMISSION_BITS = 0o7777;

/** What the kernel tells of a file, its owner as the container sees it. */
export interface FileAttributes {
  size: number;
  /** With the bits of the type. */
  mode: number;
  uid: number;
  gid: number;
  accessedMs: number;
  modifiedMs: number;
}

/** What is absent stays as it is. */
export interface AttributeChange {
  size?: number;
  owner?: { uid: number; gid: number };
  mode?: number;
  times?: { accessedMs: number; modifiedMs: number };
}

const attributesOf = (root: InstanceRoot, stats: Stats): FileAttributes => ({
  size: stats.size,
  mode: stats.mode,
  uid: root.fromHostUid(stats.uid),
  gid: root.fromHostGid(stats.gid),
  accessedMs: stats.atimeMs,
  modifiedMs: stats.mtimeMs,
});

/** Of what is at `path`, or of what a link there leads to. Throws `not_found`. */
export function readAttributesInRoot(root: InstanceRoot, path: string, follow: boolean): FileAttributes {
  const flags = follow ? O_PATH : O_PATH | constants.O_NOFOLLOW;
  return guarded(path, () => withFd(openInRoot(root.fd, path, flags), (fd) => attributesOf(root, fstatSync(fd))));
}

/** Of an open file. */
export const readAttributes = (root: InstanceRoot, fd: number): FileAttributes => attributesOf(root, fstatSync(fd));

/** Changes what is at `path`, a link there followed. Throws `not_found`; `bad_request` for a length of no regular file. */
export const changeAttributesInRoot = (root: InstanceRoot, path: string, change: AttributeChange): void =>
  guarded(path, () => withFd(openInRoot(root.fd, path, O_PATH), (fd) => changeAttributes(root, fd, change)));

/** The same for an open file. A descriptor's own name in /proc is no way out of the root: the kernel goes to its inode. */
export function changeAttributes(root: InstanceRoot, fd: number, { size, owner, mode, times }: AttributeChange): void {
  const at = `/proc/self/fd/${fd}`;
  const stats = fstatSync(fd);
  if (stats.isSymbolicLink()) throw badRequest('A symlink has no attributes to change');
  if (size !== undefined) {
    if (!stats.isFile()) throw badRequest('Only a regular file has a length');
    truncateSync(at, size);
  }
  // A new owner clears the bits for set-user-id, so it comes before the mode.
  if (owner !== undefined) chownSync(at, root.toHostUid(owner.uid), root.toHostGid(owner.gid));
  if (mode !== undefined) chmodSync(at, mode & PERMISSION_BITS);
  if (times !== undefined) utimesSync(at, times.accessedMs / 1000, times.modifiedMs / 1000);
}

/** Moves what is at `from`, links not followed, over whatever `rename(2)` may replace at `to`. Throws `not_found`. */
export function renameInRoot(root: InstanceRoot, from: string, to: string): void {
  // A new name is something made: the kernel refuses that to ids that the container does not have.
  const asRoot = (act: () => void) => asFileOwner(root.toHostUid(0), root.toHostGid(0), act);
  guarded(from, () => inParent(root, from, (old) => inParent(root, to, (next) => asRoot(() => renameSync(old, next)))));
}

/** The target of a symlink as it was written. Throws `not_found`; `bad_request` for anything else. */
export const readLinkInRoot = (root: InstanceRoot, path: string): string =>
  guarded(path, () => inParent(root, path, (at) => readlinkSync(at)));
