/**
 * The record of a run, so that the next start can sweep what one that was killed left behind: processes die with their
 * owner, but namespaces, control groups, loop devices and files do not.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { inState } from '../paths.ts';
import { run } from '../run.ts';
import { cgroupsOf, type Hierarchies, killAll, readHierarchies, removeCgroups } from './cgroups.ts';
import { detachLoops } from './loops.ts';
import { type Net, netOf, removeNet } from './network.ts';

const Record = z.object({
  pid: z.number().int(),
  /** Start time of the process in clock ticks: pids are used again. */
  startedAt: z.string(),
  octet: z.number().int().nullable(),
});

export interface Run {
  id: string;
  dir: string;
}

const runsDir = (): string => inState('runs');

/** Makes a run's directory, owned by this process. */
export function createRun(): Run {
  // Short: unix sockets live below it.
  const id = randomBytes(3).toString('hex');
  const dir = path.join(runsDir(), id);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeRecord(dir, null);
  return { id, dir };
}

/** Notes the network that the run has taken. */
export const recordNet = (it: Run, net: Net): void => writeRecord(it.dir, net.octet);

function writeRecord(dir: string, octet: number | null): void {
  const record: z.infer<typeof Record> = { pid: process.pid, startedAt: startOf(process.pid) ?? '', octet };
  const file = path.join(dir, 'run.json');
  writeFileSync(`${file}.new`, JSON.stringify(record));
  renameSync(`${file}.new`, file);
}

/** Field 22 of `/proc/PID/stat`; null when there is no such process, or one that ended and waits for its parent to notice. */
function startOf(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Removes everything of a run: its processes, namespaces, control groups, loop devices, pools, files. */
export async function removeRun(it: Run): Promise<void> {
  const record = readRecord(it.dir);
  if (record?.octet != null) {
    const net = netOf(record.octet);
    for (const name of hostGroups(readHierarchies(), net)) {
      const cgroups = cgroupsOf(readHierarchies(), name);
      await killAll(cgroups);
      await removeCgroups(cgroups, { self: true });
    }
    await destroyKernelPools(net);
    await removeNet(net);
  }
  await detachLoops(it.dir);
  rmSync(it.dir, { recursive: true, force: true, maxRetries: 3 });
}

/** Removes runs whose process is gone. Resolves to how many there were. */
export async function sweepRuns(): Promise<number> {
  if (!existsSync(runsDir())) return 0;
  let swept = 0;
  for (const id of readdirSync(runsDir())) {
    const dir = path.join(runsDir(), id);
    const record = readRecord(dir);
    if (record !== null && startOf(record.pid) === record.startedAt) continue;
    await removeRun({ id, dir });
    swept++;
  }
  return swept;
}

function readRecord(dir: string): z.infer<typeof Record> | null {
  try {
    return Record.parse(JSON.parse(readFileSync(path.join(dir, 'run.json'), 'utf8')));
  } catch {
    return null;
  }
}

function hostGroups({ v1, unified }: Hierarchies, net: Net): Set<string> {
  const roots = [...v1, ...(unified === null ? [] : [unified])];
  return new Set(roots.flatMap((root) => readdirSync(root).filter((name) => name.startsWith(`${net.prefix}-h`))));
}

/** The kernel's ZFS knows one set of pools for the whole machine: a run's carry its prefix. */
async function destroyKernelPools(net: Net): Promise<void> {
  if (!existsSync('/dev/zfs')) return;
  const pools = await run('zpool', ['list', '-H', '-o', 'name']);
  for (const name of pools.stdout.split('\n').filter((name) => name.startsWith(`${net.prefix}-`))) {
    await run('zpool', ['destroy', '-f', name]);
  }
}
