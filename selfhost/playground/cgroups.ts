/**
 * A control-group subtree per simulated host, in every hierarchy that the machine has: v1, v2, or both. All processes of a
 * host are in it, whatever they forked or re-parented, so it is also how they are found and ended.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { waitFor } from '../wait.ts';

export interface Hierarchies {
  /** Mount points of the v1 controllers. */
  v1: string[];
  /** Mount point of v2; null when there is none. */
  unified: string | null;
}

const ROOT = '/sys/fs/cgroup';

/** Reads `/proc/mounts` text. */
export function parseHierarchies(mounts: string): Hierarchies {
  const v1 = new Set<string>();
  let unified: string | null = null;
  for (const line of mounts.split('\n')) {
    const [, dir = '', type] = line.split(' ');
    if (dir !== ROOT && !dir.startsWith(`${ROOT}/`)) continue;
    if (type === 'cgroup') v1.add(dir);
    if (type === 'cgroup2') unified = dir;
  }
  return { v1: [...v1].sort(), unified };
}

/** What this machine has. */
export const readHierarchies = (): Hierarchies => parseHierarchies(readFileSync('/proc/self/mounts', 'utf8'));

export interface HostCgroups {
  /** Write one's pid to each before entering the host's namespaces: its `/proc/self/cgroup` then makes sense in there. */
  procs: string[];
  dirs: string[];
  /** With v2 alone: the leaf for the host's own processes, because a group with controllers may hold none itself. */
  leaf: string | null;
}

/** liblxc looks above a group of this name when it makes its own. */
const LEAF = 'init.scope';

/** The subtree's paths, whether it exists or not. */
export function cgroupsOf({ v1, unified }: Hierarchies, name: string): HostCgroups {
  const dirs = [...v1, ...(unified === null ? [] : [unified])].map((dir) => path.join(dir, name));
  const leaf = unified !== null && v1.length === 0 ? path.join(unified, name, LEAF) : null;
  const procs = dirs.map((dir) => path.join(dir, 'cgroup.procs'));
  return { dirs, leaf, procs };
}

/** Makes the subtree; one that exists stays. */
export function createCgroups(hierarchies: Hierarchies, name: string): HostCgroups {
  const cgroups = cgroupsOf(hierarchies, name);
  for (const dir of cgroups.dirs) {
    mkdirSync(dir, { recursive: true });
    if (!existsSync(path.join(dir, 'cpuset.cpus')) || !existsSync(path.join(dir, 'cgroup.clone_children'))) continue;
    // v1 cpuset: a new group has no cores and takes no process until it is given some.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      writeFileSync(path.join(dir, file), readFileSync(path.join(path.dirname(dir), file)));
    }
    writeFileSync(path.join(dir, 'cgroup.clone_children'), '1');
  }
  return cgroups;
}

/** With v2 alone: moves the host's processes to the leaf and hands all controllers down. No effect elsewhere. */
export function delegateControllers(cgroups: HostCgroups): void {
  const { leaf } = cgroups;
  if (leaf === null) return;
  const top = path.dirname(leaf);
  mkdirSync(leaf, { recursive: true });
  for (const pid of pidsIn(top)) writeFileSync(path.join(leaf, 'cgroup.procs'), String(pid));
  for (const controller of readFileSync(path.join(top, 'cgroup.controllers'), 'utf8').split(/\s+/).filter(Boolean)) {
    writeFileSync(path.join(top, 'cgroup.subtree_control'), `+${controller}`);
  }
}

/** Where a process must go to enter the host. */
export const entryFiles = ({ leaf, procs }: HostCgroups): string[] =>
  leaf !== null && existsSync(leaf) ? [path.join(leaf, 'cgroup.procs')] : procs;

/** Ends every process in the subtree. Throws when one survives SIGKILL for 30 s: some inits are slow to reap. */
export async function killAll(cgroups: HostCgroups): Promise<void> {
  const check = () => {
    const pids = new Set(cgroups.dirs.flatMap(listPids));
    for (const pid of pids) kill(pid);
    return pids.size === 0;
  };
  await waitFor('the processes of a host to end', check, { timeoutMs: 30_000 });
}

/** Removes the groups below the subtree, and the subtree itself when `self`. Throws when one stays busy for 10 s. */
export async function removeCgroups(cgroups: HostCgroups, { self }: { self: boolean }): Promise<void> {
  await waitFor('the control groups of a host to be empty', () =>
    cgroups.dirs.map((dir) => removeTree(dir, self)).every((gone) => gone),
  );
}

function removeTree(dir: string, self: boolean): boolean {
  const gone = childrenOf(dir).map((child) => removeTree(child, true));
  if (!gone.every(Boolean)) return false;
  if (!self || !existsSync(dir)) return true;
  try {
    rmdirSync(dir);
    return true;
  } catch {
    return false;
  }
}

function childrenOf(dir: string): string[] {
  if (!existsSync(dir)) return [];
  const entries = readdirSync(dir, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => path.join(dir, entry.name));
}

function pidsIn(dir: string): number[] {
  try {
    const text = readFileSync(path.join(dir, 'cgroup.procs'), 'utf8');
    return text.split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

const listPids = (dir: string): number[] => [...pidsIn(dir), ...childrenOf(dir).flatMap(listPids)];

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}
