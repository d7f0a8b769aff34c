/** What placement looks at, told only when it has changed. */
import { readFile } from 'node:fs/promises';
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os';
import type { HostLoad } from '#protocol/inventory.ts';

/** Placement does not see smaller differences. */
const NOTABLE = 0.05;

export async function readLoad(): Promise<HostLoad> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  return {
    memoryTotalBytes: totalmem(),
    memoryAvailableBytes: available === undefined ? freemem() : Number(available) * 1024,
    cpuCount: availableParallelism(),
    cpuLoad: loadavg()[0] ?? 0,
  };
}

/** True when memory moved by more than 5 % of all there is, or the load by more than 5 % of the cores. Pure. */
export function hasChanged(before: HostLoad, now: HostLoad): boolean {
  if (before.memoryTotalBytes !== now.memoryTotalBytes || before.cpuCount !== now.cpuCount) return true;
  const memory = Math.abs(before.memoryAvailableBytes - now.memoryAvailableBytes) / Math.max(1, now.memoryTotalBytes);
  const cpu = Math.abs(before.cpuLoad - now.cpuLoad) / Math.max(1, now.cpuCount);
  return memory > NOTABLE || cpu > NOTABLE;
}
