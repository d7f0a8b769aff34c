/** The host's figures for people: told after each welcome, then when they have moved, and now and then anyway. */
import { readFile } from 'node:fs/promises';
import { loadavg, uptime } from 'node:os';
import type { AgentFrame } from '#protocol/frames.ts';
import type { HostLoad, HostState } from '#protocol/inventory.ts';
import type { Host } from '../commands/host.ts';
import { listPids } from '../system/proc.ts';

/** Pools are asked by programs: not as often as the load. */
const LOOK_MS = 30_000;
/** What has not moved is told again after this, so that its age says that it is still so. */
const REPEAT_MS = 10 * 60_000;
/** A reader of a table does not see smaller differences. */
const NOTABLE = 0.02;

export interface StateTeller {
  /** Tells now, whatever was told before. */
  tell(): void;
  stop(): void;
}

export interface StateTellerDeps {
  host: Pick<Host, 'journal' | 'pools' | 'log'>;
  readLoad(): Promise<HostLoad>;
  send(frame: AgentFrame): boolean;
}

/** Looks again every half minute. A pool that cannot be read is left out. */
export function createStateTeller({ host, readLoad, send }: StateTellerDeps): StateTeller {
  let told: { state: HostState; atMs: number } | null = null;
  const look = async () => {
    const [load, state] = await Promise.all([readLoad(), readHostState(host)]);
    const isOld = told === null || performance.now() - told.atMs > REPEAT_MS;
    if (!isOld && told !== null && !hasMoved(told.state, state)) return;
    if (send({ type: 'load', load, state })) told = { state, atMs: performance.now() };
  };
  const lookNow = () => void look().catch((err) => host.log.warn('inventory.state.failed', { err }));
  const timer = setInterval(lookNow, LOOK_MS);
  timer.unref();
  return {
    tell: () => {
      told = null;
      lookNow();
    },
    stop: () => clearInterval(timer),
  };
}

async function readHostState(host: StateTellerDeps['host']): Promise<HostState> {
  const [memory, pools] = await Promise.all([
    readFile('/proc/meminfo', 'utf8').then(parseMeminfo, () => parseMeminfo('')),
    Promise.all(host.journal.pools.list().map(({ name }) => readPool(host, name))),
  ]);
  return {
    uptimeSeconds: Math.floor(uptime()),
    loadAverages: loadavg(),
    processes: listPids().length,
    memory,
    pools: Object.fromEntries(pools.flat()),
  };
}

async function readPool(host: StateTellerDeps['host'], name: string): Promise<[string, HostState['pools'][string]][]> {
  try {
    const { usedBytes, totalBytes, inodes } = await (await host.pools.open(name)).poolUsage();
    return [[name, { space: { usedBytes, totalBytes }, inodes }]];
  } catch (err) {
    host.log.debug('inventory.pool.failed', { pool: name, err });
    return [];
  }
}

/** The lines of `/proc/meminfo` that LXD shows, in bytes; 0 for what is not there. Pure. */
export function parseMeminfo(text: string): HostState['memory'] {
  const bytesOf = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return {
    totalBytes: bytesOf('MemTotal'),
    freeBytes: bytesOf('MemFree'),
    sharedBytes: bytesOf('Shmem'),
    bufferedBytes: bytesOf('Buffers'),
    swapTotalBytes: bytesOf('SwapTotal'),
    swapFreeBytes: bytesOf('SwapFree'),
  };
}

/** True when somebody who reads the figures would see a difference. Pure. */
export function hasMoved(before: HostState, now: HostState): boolean {
  const moved = (from: number, to: number, whole: number) => Math.abs(from - to) > NOTABLE * Math.max(1, whole);
  const { totalBytes } = now.memory;
  if (moved(before.memory.freeBytes, now.memory.freeBytes, totalBytes)) return true;
  if (moved(before.memory.swapFreeBytes, now.memory.swapFreeBytes, now.memory.swapTotalBytes)) return true;
  if (Math.abs((before.loadAverages[0] ?? 0) - (now.loadAverages[0] ?? 0)) > 0.25) return true;
  if (Math.abs(before.processes - now.processes) > 0.1 * now.processes) return true;
  if (Object.keys(before.pools).join() !== Object.keys(now.pools).join()) return true;
  return Object.entries(now.pools).some(([name, { space }]) => {
    const old = before.pools[name]?.space;
    return old === undefined || moved(old.usedBytes, space.usedBytes, space.totalBytes);
  });
}
