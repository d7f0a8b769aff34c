/**
 * Mounts inside another process's mount namespace, without starting a program: the thread steps into the namespace, asks
 * the kernel, and steps back before anything else can run.
 *
 * Invariants: a mount is made complete (private, read-only, id map) while it belongs to no namespace, and only then put in
 * place; a path inside is walked by the kernel with the other process's root as `/`.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { lastError, libc } from './libc.ts';
import { O_PATH, openInRoot } from './openat2.ts';

const CLONE_FS = 0x200;
const CLONE_NEWNS = 0x20000;
/** The same numbers on every architecture. */
const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_MOUNT_SETATTR = 442;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const O_CLOEXEC = 0o2000000;
const MOUNT_ATTR_RDONLY = 0x1n;
const MOUNT_ATTR_IDMAP = 0x100000n;
const MS_PRIVATE = 1n << 18n;
const SIZEOF_MOUNT_ATTR = 32;
const MOVE_MOUNT_BOTH_EMPTY_PATHS = 0x4 | 0x40;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

function withFds<T>(paths: readonly [string, number][], use: (...fds: number[]) => T): T {
  const fds: number[] = [];
  try {
    for (const [path, flags] of paths) fds.push(openSync(path, flags));
    return use(...fds);
  } finally {
    fds.forEach(closeSync);
  }
}

/** Runs the synchronous `act` in the mount namespace of `pid`, with a descriptor of its root. It may use system calls only. */
function inMountNamespace<T>(pid: number, act: (rootFd: number) => T): T {
  const directory = O_PATH | constants.O_DIRECTORY;
  const fds: [string, number][] = [
    ['/proc/thread-self/ns/mnt', constants.O_RDONLY],
    ['/proc/thread-self/root', directory],
    ['/proc/thread-self/cwd', directory],
    [`/proc/${pid}/ns/mnt`, constants.O_RDONLY],
    [`/proc/${pid}/root`, directory],
  ];
  return withFds(fds, (home, homeRoot, homeCwd, there, root) => {
    const setns = libc('int setns(int fd, int kind)');
    const fchdir = libc('int fchdir(int fd)');
    // Only a thread with a root and working directory of its own may enter. The agent changes neither, so from now on this
    // thread has its own; the second time this does nothing.
    if (libc('int unshare(int flags)')(CLONE_FS) !== 0) throw lastError('unshare', 'fs');
    if (setns(there, CLONE_NEWNS) !== 0) throw lastError('setns', `mnt of ${pid}`);
    try {
      return act(root ?? -1);
    } finally {
      const back =
        setns(home, CLONE_NEWNS) === 0 && fchdir(homeRoot) === 0 && libc('int chroot(const char *p)')('.') === 0;
      // An agent lost in a container's files must not live on.
      if (!back || fchdir(homeCwd) !== 0) process.abort();
    }
  });
}

export interface BindMount {
  /** On this side. Links are followed. */
  source: string;
  /** With what is mounted below it. */
  recursive: boolean;
  readonly: boolean;
  /** Ids on disk are those of the other process's user namespace. */
  idmapped: boolean;
}

function setAttributes(tree: number, pid: number, { readonly, recursive, idmapped, source }: BindMount): void {
  const userNamespace = idmapped ? openSync(`/proc/${pid}/ns/user`, 'r') : null;
  try {
    const attributes = Buffer.alloc(SIZEOF_MOUNT_ATTR);
    attributes.writeBigUInt64LE((readonly ? MOUNT_ATTR_RDONLY : 0n) | (idmapped ? MOUNT_ATTR_IDMAP : 0n), 0);
    // A clone of a shared mount is its peer: what a container mounted there would be mounted on the host.
    attributes.writeBigUInt64LE(MS_PRIVATE, 16);
    attributes.writeBigUInt64LE(BigInt(userNamespace ?? 0), 24);
    const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    const syscall = libc(
      'long syscall(long n, int fd, const char *path, unsigned int flags, void *attributes, size_t size)',
    );
    if (Number(syscall(SYS_MOUNT_SETATTR, tree, '', flags, attributes, SIZEOF_MOUNT_ATTR)) !== 0) {
      throw lastError('mount_setattr', source);
    }
  } finally {
    if (userNamespace !== null) closeSync(userNamespace);
  }
}

/** Mounts `bind` on the existing file or directory `path` in the root of `pid`. Throws Node's kind of error. */
export function attachMount(pid: number, bind: BindMount, path: string): void {
  const flags = OPEN_TREE_CLONE | O_CLOEXEC | (bind.recursive ? AT_RECURSIVE : 0);
  const openTree = libc('long syscall(long n, int dirfd, const char *path, unsigned int flags)');
  const tree = Number(openTree(SYS_OPEN_TREE, AT_FDCWD, bind.source, flags));
  if (tree < 0) throw lastError('open_tree', bind.source);
  try {
    setAttributes(tree, pid, bind);
    inMountNamespace(pid, (root) => {
      const target = openInRoot(root, path, O_PATH);
      try {
        const moveMount = libc(
          'long syscall(long n, int fromFd, const char *from, int toFd, const char *to, unsigned int flags)',
        );
        if (Number(moveMount(SYS_MOVE_MOUNT, tree, '', target, '', MOVE_MOUNT_BOTH_EMPTY_PATHS)) !== 0) {
          throw lastError('move_mount', path);
        }
      } finally {
        closeSync(target);
      }
    });
  } finally {
    closeSync(tree);
  }
}

/** Takes away the topmost mount on `path` in the root of `pid`, busy or not. Throws EINVAL when nothing is mounted there. */
export function detachMount(pid: number, path: string): void {
  inMountNamespace(pid, (root) => {
    if (libc('int fchdir(int fd)')(root) !== 0) throw lastError('fchdir', path);
    const relative = path.replace(/^\/+/, '');
    if (libc('int umount2(const char *path, int flags)')(relative, MNT_DETACH | UMOUNT_NOFOLLOW) !== 0) {
      throw lastError('umount2', path);
    }
  });
}
