/** The mount table of this process, read from the kernel: no program, no cache. */
import { readFile } from 'node:fs/promises';

export interface Mount {
  /** Where, with the kernel's escapes undone. */
  path: string;
  /** Device, dataset or directory as the file system names it. */
  source: string;
  /** Type: `btrfs`, `zfs`, `fuse.zfs`, … */
  type: string;
  /** The directory of the file system that is mounted: `/` unless it is a bind mount. */
  root: string;
  /** Options of this mount: `rw`, `nodev`, … */
  options: string[];
}

const undoEscapes = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

/** Parses `/proc/self/mountinfo`; lines it cannot read are left out. */
export function parseMountinfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const [head, tail] = line.split(' - ', 2);
    const [, , , root, path, options] = head?.split(' ') ?? [];
    const [type, source] = tail?.split(' ') ?? [];
    if (root === undefined || path === undefined || options === undefined) continue;
    if (type === undefined || source === undefined) continue;
    mounts.push({
      path: undoEscapes(path),
      source: undoEscapes(source),
      type,
      root: undoEscapes(root),
      options: options.split(','),
    });
  }
  return mounts;
}

/** All mounts this process sees, the oldest first. */
export async function listMounts(): Promise<Mount[]> {
  return parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** What is mounted on exactly `path`: the topmost one, or undefined. */
export async function findMount(path: string): Promise<Mount | undefined> {
  return (await listMounts()).findLast((mount) => mount.path === path);
}
