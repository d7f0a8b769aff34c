/**
 * Opening files under a root that somebody else fills: openat2(2) with RESOLVE_IN_ROOT. The kernel treats the directory
 * as `/`, so no symlink, `..` or magic link in the tree can lead outside it. About 10 µs a call.
 */
import { constants } from 'node:fs';
import { lastError, libc } from './libc.ts';

/** The same number on every architecture. */
const SYS_OPENAT2 = 437;
const RESOLVE_NO_MAGICLINKS = 2n;
const RESOLVE_IN_ROOT = 16n;
const SIZEOF_OPEN_HOW = 24;
export const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

/**
 * Opens `path` with `rootFd` as `/` and returns a descriptor, closed on exec. Never blocks on a FIFO. Throws Node's kind of
 * error (`code` ENOENT, ELOOP, …).
 */
export function openInRoot(rootFd: number, path: string, flags: number, mode = 0): number {
  if (path.includes('\0')) throw Object.assign(new Error('EINVAL: path with a null byte'), { code: 'EINVAL' });
  // O_PATH takes no O_NONBLOCK and needs none.
  const extra = flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | constants.O_NONBLOCK;
  const how = Buffer.alloc(SIZEOF_OPEN_HOW);
  how.writeBigUInt64LE(BigInt(flags | extra), 0);
  how.writeBigUInt64LE(BigInt(mode), 8);
  how.writeBigUInt64LE(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, 16);
  const syscall = libc('long syscall(long n, int dirfd, const char *path, void *how, size_t size)');
  const fd = Number(syscall(SYS_OPENAT2, rootFd, path, how, SIZEOF_OPEN_HOW));
  if (fd < 0) throw lastError('openat2', path);
  return fd;
}

const PR_GET_SECUREBITS = 27;
const PR_SET_SECUREBITS = 28;
const SECBIT_NO_SETUID_FIXUP = 4;

/**
 * Runs the synchronous `create` with the file-system ids `uid` and `gid`, all capabilities kept, so that what it makes
 * belongs to them from its first moment. Needed for containers with an id map: there the agent's own id 0 has no place on
 * disk, and the kernel refuses to create anything for it (EOVERFLOW).
 *
 * Ids belong to the thread, so nothing else may run in between: `create` must not be asynchronous.
 */
export function asFileOwner<T>(uid: number, gid: number, create: () => T): T {
  if (uid === 0 && gid === 0) return create();
  const prctl = libc('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)');
  const setfsuid = libc('int setfsuid(unsigned int id)');
  const setfsgid = libc('int setfsgid(unsigned int id)');
  const secureBits: number = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  if (prctl(PR_SET_SECUREBITS, secureBits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) !== 0) {
    throw lastError('prctl', 'securebits');
  }
  const oldGid: number = setfsgid(gid);
  const oldUid: number = setfsuid(uid);
  try {
    return create();
  } finally {
    setfsuid(oldUid);
    setfsgid(oldGid);
    prctl(PR_SET_SECUREBITS, secureBits, 0, 0, 0);
  }
}
