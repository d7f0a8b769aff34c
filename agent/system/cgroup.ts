/**
 * Control groups of a container, v1 and v2 alike: where they are (always asked from the kernel, never built from a name)
 * and their files.
 */
import { existsSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readProc } from './proc.ts';

export interface CgroupMounts {
  /** Controller (`memory`, `cpu`, `name=systemd`) → mount point. */
  v1: Map<string, string>;
  v2: string | null;
  /** Controllers that the v2 hierarchy has. */
  v2Controllers: Set<string>;
}

const NOT_CONTROLLERS = new Set(['rw', 'ro', 'xattr', 'clone_children', 'nsdelegate', 'noprefix']);

/** Parses `/proc/self/mountinfo` for cgroup mounts. `isVisible` tells those that another mount lies over. */
export function parseCgroupMounts(
  mountinfo: string,
  isVisible: (mountPoint: string, device: string) => boolean,
): Pick<CgroupMounts, 'v1' | 'v2'> {
  const v1 = new Map<string, string>();
  let v2: string | null = null;
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const [, , device, , mountPoint] = before?.split(' ') ?? [];
    const [type, , options] = after?.split(' ') ?? [];
    if (device === undefined || mountPoint === undefined || !type?.startsWith('cgroup')) continue;
    if (!isVisible(mountPoint, device)) continue;
    if (type === 'cgroup2') v2 ??= mountPoint;
    if (type !== 'cgroup') continue;
    for (const option of options?.split(',') ?? []) {
      if (!NOT_CONTROLLERS.has(option) && !option.startsWith('release_agent=') && !v1.has(option)) {
        v1.set(option, mountPoint);
      }
    }
  }
  return { v1, v2 };
}

/** True when the path leads to the file system with that `major:minor`. */
function leadsTo(mountPoint: string, device: string): boolean {
  const found = statSync(mountPoint, { throwIfNoEntry: false })?.dev;
  const [major = 0, minor = 0] = device.split(':').map(Number);
  return found === (minor & 0xff) + (major & 0xfff) * 0x100 + (minor >>> 8) * 0x100000;
}

/** The hierarchies this process sees. They do not change while a host runs; ask once. */
export function readCgroupMounts(): CgroupMounts {
  const { v1, v2 } = parseCgroupMounts(readFileSync('/proc/self/mountinfo', 'utf8'), leadsTo);
  const controllers = v2 === null ? null : readCgroupFile(v2, 'cgroup.controllers');
  return { v1, v2, v2Controllers: new Set((controllers ?? '').split(' ').filter(Boolean)) };
}

export interface Cgroup {
  /** Directory of the container's group for a controller, and which version's file names apply; null where there is none. */
  find(controller: string): { directory: string; version: 1 | 2 } | null;
  /** The group's directory in every hierarchy. */
  directories: string[];
}

/** `/lxc.payload.c1/init.scope` → `/lxc.payload.c1`: an init may have moved itself deeper. */
export function payloadPath(path: string): string | null {
  const parts = path.split('/');
  const index = parts.findLastIndex((part) => part.startsWith('lxc.payload.'));
  return index < 0 ? null : parts.slice(0, index + 1).join('/');
}

/** The control groups of the container whose init is `pid`; null when it is gone or in no container. */
export function cgroupOf(mounts: CgroupMounts, pid: number): Cgroup | null {
  const v1 = new Map<string, string>();
  let v2: string | null = null;
  for (const line of (readProc(pid, 'cgroup') ?? '').split('\n')) {
    const [, controllers, ...rest] = line.split(':');
    const path = payloadPath(rest.join(':'));
    if (controllers === undefined || path === null) continue;
    if (controllers === '' && mounts.v2 !== null) v2 = join(mounts.v2, path);
    for (const controller of controllers.split(',')) {
      const mount = mounts.v1.get(controller);
      if (mount !== undefined) v1.set(controller, join(mount, path));
    }
  }
  if (v1.size === 0 && v2 === null) return null;
  return {
    find: (controller) => {
      const directory = v1.get(controller);
      if (directory !== undefined) return { directory, version: 1 };
      // The freezer of v2 is part of its core and listed nowhere.
      const inV2 = controller === 'freezer' || mounts.v2Controllers.has(controller);
      return v2 !== null && inV2 ? { directory: v2, version: 2 } : null;
    },
    directories: [...new Set([...v1.values(), ...(v2 === null ? [] : [v2])])],
  };
}

/** A cgroup file's trimmed text; null where the kernel has no such file or the group is gone. */
export function readCgroupFile(directory: string, file: string): string | null {
  try {
    return readFileSync(join(directory, file), 'utf8').trim();
  } catch {
    return null;
  }
}

/** A cgroup file that holds one number; 0 where there is none or it says `max`. */
export function readCgroupNumber(directory: string, file: string): number {
  const value = Number(readCgroupFile(directory, file) ?? 0);
  return Number.isFinite(value) ? value : 0;
}

/** Writes a value; throws the kernel's own refusal (EBUSY, EINVAL). */
export const writeCgroupFile = (directory: string, file: string, value: string): void =>
  writeFileSync(join(directory, file), value);

/** Removes a group that has no processes, with the groups below. True when it is gone; one in use stays. */
export function removeCgroup(directory: string): boolean {
  try {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) removeCgroup(join(directory, entry.name));
    }
    rmdirSync(directory);
    return true;
  } catch {
    return !existsSync(directory);
  }
}
