/** What btrfs is asked without its tool: a launch has no time for a program that makes one system call. */
import { close, constants, open } from 'node:fs';
import { basename, dirname } from 'node:path';
import { promisify } from 'node:util';
import { libc } from './libc.ts';

const openFd = promisify(open);
const closeFd = promisify(close);

/** `_IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)`. */
const SNAP_CREATE_V2 = 0x50009417;
/** Source descriptor, transaction, flags, four unused words; then the name, to the end of the page. */
const SIZEOF_ARGUMENTS = 4096;
const NAME_AT = 56;
const NAME_LIMIT = 4039;

/**
 * Makes `to` a writable snapshot of the subvolume `from`. False when the kernel refuses: nothing was made then, and the tool
 * can tell why. It may wait for the disk, so not on this thread. Throws when one of the directories cannot be opened.
 */
export async function snapshotSubvolume(from: string, to: string): Promise<boolean> {
  const name = Buffer.from(basename(to));
  if (name.length > NAME_LIMIT) return false;
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const source = await openFd(from, flags);
  try {
    const parent = await openFd(dirname(to), flags);
    try {
      const args = Buffer.alloc(SIZEOF_ARGUMENTS);
      args.writeBigInt64LE(BigInt(source), 0);
      name.copy(args, NAME_AT);
      return (await ioctl(parent, SNAP_CREATE_V2, args)) === 0;
    } finally {
      await closeFd(parent);
    }
  } finally {
    await closeFd(source);
  }
}

/** On a thread of the pool; what went wrong is not known then. */
function ioctl(fd: number, request: number, args: Buffer): Promise<number> {
  const call = libc('int ioctl(int fd, unsigned long request, void *argument)');
  return new Promise((resolve, reject) => {
    call.async(fd, request, args, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
  });
}
