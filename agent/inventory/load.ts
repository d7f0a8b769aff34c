/**
 * What placement looks at, told only when it has changed: free memory, and how many processes want a core.
 *
 * The kernel's own figures are the host's where the host is the whole machine. An agent inside a container or a simulated host
 * shares its kernel with others: there the load is counted from the processes it can see, and memory ends at the limit of
 * its own control groups, so that a neighbour's work is not taken for its own. The kernel's load averages are not used:
 * they take a minute to notice a host that has become busy.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import type { HostLoad } from '#protocol/inventory.ts';
import { type CgroupMounts, readCgroupFile, readCgroupMounts, readCgroupNumber } from '../system/cgroup.ts';
import { listPids, namespaceOf, readProc } from '../system/proc.ts';

/** Placement does not see smaller differences. */
const NOTABLE = 0.05;
/** The kernel's name for the pid namespace that is the machine's own (`PROC_PID_INIT_INO`). */
const MACHINE_PIDS = 'pid:[4026531836]';
/** Often enough for an average over a minute; a look at some hundred processes takes milliseconds. */
const SAMPLE_MS = 2_000;
/** What is older than a minute weighs a twentieth: a host that has become busy is known to be before many have gone there. */
const DECAY_MS = 20_000;

export interface LoadReader {
  read(): Promise<HostLoad>;
  stop(): void;
}

/** Starts to measure where the kernel's load is not the host's own. */
export function createLoadReader(): LoadReader {
  const mounts = readCgroupMounts();
  const measured = measureLoad(namespaceOf('self', 'pid') === MACHINE_PIDS ? countOnMachine : countInSight);
  return {
    read: async () => ({
      ...(await readMemory(mounts)),
      cpuCount: availableParallelism(),
      cpuLoad: measured.load(),
    }),
    stop: measured.stop,
  };
}

/** An average of what `count` says over about a minute, weighing the newest most. */
function measureLoad(count: () => number): { load(): number; stop(): void } {
  let average = count();
  let lastMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    average = decay(average, count(), nowMs - lastMs);
    lastMs = nowMs;
  }, SAMPLE_MS);
  timer.unref();
  return { load: () => average, stop: () => clearInterval(timer) };
}

/** The average after `elapsedMs` in which the figure was `sample`. Pure. */
export const decay = (average: number, sample: number, elapsedMs: number): number => {
  const kept = Math.exp(-elapsedMs / DECAY_MS);
  return average * kept + sample * (1 - kept);
};

/** Threads that run or want to run on the whole machine; this one apart, which is looking. */
const countOnMachine = (): number => runnableOf(readFileSync('/proc/loadavg', 'utf8'));

/** The fourth field of `/proc/loadavg`, `3/512`, without the reader. Pure. */
export const runnableOf = (loadavg: string): number => Math.max(0, Number(/ (\d+)\//.exec(loadavg)?.[1] ?? 1) - 1);

/** Processes in this pid namespace that run or want to run; this one apart. */
const countInSight = (): number =>
  listPids().filter((pid) => pid !== process.pid && isRunnable(readProc(pid, 'stat') ?? '')).length;

/** Whether `/proc/<pid>/stat` says so. The name before the state may hold anything. Pure. */
export const isRunnable = (stat: string): boolean => stat.startsWith('R', stat.lastIndexOf(')') + 2);

async function readMemory(mounts: CgroupMounts): Promise<Pick<HostLoad, 'memoryTotalBytes' | 'memoryAvailableBytes'>> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  const available = line === undefined ? freemem() : Number(line) * 1024;
  const limited = readOwnMemory(mounts);
  if (limited === null || limited.limitBytes >= totalmem()) {
    return { memoryTotalBytes: totalmem(), memoryAvailableBytes: available };
  }
  const left = Math.max(0, limited.limitBytes - limited.usedBytes);
  return { memoryTotalBytes: limited.limitBytes, memoryAvailableBytes: Math.min(available, left) };
}

/** Memory of the host: the machine's, or less where its control groups say so. */
export const memoryTotal = (): number =>
  Math.min(totalmem(), readOwnMemory(readCgroupMounts())?.limitBytes ?? Number.POSITIVE_INFINITY);

/** The limit of the topmost control group in sight, and what counts against it beyond a cache that can go. */
function readOwnMemory({ v1, v2 }: CgroupMounts): { limitBytes: number; usedBytes: number } | null {
  const old = v1.get('memory');
  const directory = old ?? v2;
  if (directory === undefined || directory === null) return null;
  const [limit, usage, cache] = old
    ? (['memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'] as const)
    : (['memory.max', 'memory.current', 'inactive_file'] as const);
  const limitBytes = readCgroupNumber(directory, limit);
  if (limitBytes === 0) return null;
  const stat = readCgroupFile(directory, 'memory.stat') ?? '';
  const cached = Number(new RegExp(`^${cache} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  return { limitBytes, usedBytes: Math.max(0, readCgroupNumber(directory, usage) - cached) };
}

/** True when memory moved by more than 5 % of all there is, or the load by more than 5 % of the cores. Pure. */
export function hasChanged(before: HostLoad, now: HostLoad): boolean {
  if (before.memoryTotalBytes !== now.memoryTotalBytes || before.cpuCount !== now.cpuCount) return true;
  const memory = Math.abs(before.memoryAvailableBytes - now.memoryAvailableBytes) / Math.max(1, now.memoryTotalBytes);
  const cpu = Math.abs(before.cpuLoad - now.cpuLoad) / Math.max(1, now.cpuCount);
  return memory > NOTABLE || cpu > NOTABLE;
}
