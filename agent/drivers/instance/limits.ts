/**
 * `limits.*` as control group files, for both versions: one table that the config file and live changes share. Pure.
 */
import { createHash } from 'node:crypto';
import { badRequest } from '#protocol/errors.ts';
import { parseBool, parseMemoryBytes } from '#protocol/units.ts';

export interface LimitFile {
  file: string;
  value: string;
}

/** The files of one controller. Without a limit they hold the kernel's "no limit", so that a live change can go back to it. */
export interface ControllerLimits {
  controller: 'memory' | 'cpuset' | 'cpu' | 'pids';
  /** The keys that decide it, for messages. */
  keys: string;
  limited: boolean;
  v1: LimitFile[];
  v2: LimitFile[];
}

export interface LimitContext {
  memoryTotalBytes: number;
  /** The CPUs of this host that containers may use. */
  cpus: number[];
  /** Spreads containers with a plain CPU count over the cores. */
  seed: string;
}

type Config = Record<string, string>;

const invalid = (key: string, value: string) => badRequest(`Invalid config: Invalid value for "${key}": ${value}`);

function memory(config: Config, context: LimitContext): ControllerLimits {
  const text = config['limits.memory'] ?? '';
  const bytes = text === '' ? null : parseMemoryBytes(text, context.memoryTotalBytes);
  if (text !== '' && (bytes === null || bytes <= 0)) throw invalid('limits.memory', text);
  const soft = config['limits.memory.enforce'] === 'soft';
  const swap = parseBool(config['limits.memory.swap'] || 'true') ?? true;
  const hard = bytes !== null && !soft ? String(bytes) : null;
  return {
    controller: 'memory',
    keys: 'limits.memory',
    limited: bytes !== null || !swap,
    v1: [
      { file: 'memory.limit_in_bytes', value: hard ?? '-1' },
      // Memory and swap together.
      { file: 'memory.memsw.limit_in_bytes', value: hard ?? '-1' },
      { file: 'memory.soft_limit_in_bytes', value: bytes !== null && soft ? String(bytes) : '-1' },
      { file: 'memory.swappiness', value: swap ? '60' : '0' },
    ],
    v2: [
      { file: 'memory.max', value: hard ?? 'max' },
      { file: 'memory.high', value: bytes !== null && soft ? String(bytes) : 'max' },
      { file: 'memory.swap.max', value: swap ? (hard ?? 'max') : '0' },
    ],
  };
}

/** `0-2,5` → [0, 1, 2, 5]; null when it is no such list. */
export function parseCpuSet(text: string): number[] | null {
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,5})(?:-(\d{1,5}))?\s*$/.exec(part);
    if (!match) return null;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first) return null;
    for (let cpu = first; cpu <= last; cpu++) found.add(cpu);
  }
  return [...found].sort((a, b) => a - b);
}

function pickCpus(count: number, context: LimitContext): number[] {
  const { cpus } = context;
  if (count >= cpus.length) return cpus;
  const offset = createHash('sha256').update(context.seed).digest().readUInt32BE(0) % cpus.length;
  return Array.from({ length: count }, (_, index) => cpus[(offset + index) % cpus.length] ?? 0).sort((a, b) => a - b);
}

function cpuset(config: Config, context: LimitContext): ControllerLimits {
  const text = config['limits.cpu'] ?? '';
  let chosen: number[] | null = text === '' ? context.cpus : null;
  if (/^\d{1,5}$/.test(text)) chosen = pickCpus(Number(text), context);
  else if (text !== '') chosen = parseCpuSet(text);
  if (chosen === null || (text !== '' && chosen.length === 0)) throw invalid('limits.cpu', text);
  const files = [{ file: 'cpuset.cpus', value: chosen.join(',') }];
  return { controller: 'cpuset', keys: 'limits.cpu', limited: text !== '', v1: files, v2: files };
}

const PERIOD_DEFAULT_US = 100_000;

function cpu(config: Config): ControllerLimits {
  const text = config['limits.cpu.allowance'] ?? '';
  const priority = config['limits.cpu.priority'] ?? '';
  if (!/^(10|\d)?$/.test(priority)) throw invalid('limits.cpu.priority', priority);
  const percent = /^(\d{1,3})%$/.exec(text);
  const hard = /^(\d{1,7})ms\/(\d{1,7})ms$/.exec(text);
  const [quotaMs, periodMs] = [Number(hard?.[1]), Number(hard?.[2])];
  if (
    (text !== '' && !percent && !hard) ||
    (percent && percent[1] === '0') ||
    (hard && !(quotaMs > 0 && periodMs > 0))
  ) {
    throw invalid('limits.cpu.allowance', text);
  }
  // LXD's scale: 100 % and priority 10 are the kernel's default share; each step down takes a little of it.
  const share = percent ? Number(percent[1]) / 100 : 1;
  const steps = priority === '' ? 0 : 10 - Number(priority);
  const periodUs = hard ? periodMs * 1000 : PERIOD_DEFAULT_US;
  return {
    controller: 'cpu',
    keys: 'limits.cpu.allowance',
    limited: text !== '' || priority !== '',
    v1: [
      { file: 'cpu.shares', value: String(Math.max(2, Math.round(1024 * share) - steps)) },
      { file: 'cpu.cfs_period_us', value: String(periodUs) },
      { file: 'cpu.cfs_quota_us', value: hard ? String(quotaMs * 1000) : '-1' },
    ],
    v2: [
      { file: 'cpu.weight', value: String(Math.max(1, Math.round(100 * share) - steps)) },
      { file: 'cpu.max', value: `${hard ? quotaMs * 1000 : 'max'} ${periodUs}` },
    ],
  };
}

function pids(config: Config): ControllerLimits {
  const text = config['limits.processes'] ?? '';
  if (text !== '' && !/^[1-9]\d{0,9}$/.test(text)) throw invalid('limits.processes', text);
  const files = [{ file: 'pids.max', value: text || 'max' }];
  return { controller: 'pids', keys: 'limits.processes', limited: text !== '', v1: files, v2: files };
}

/** Every controller that `limits.*` can change. Throws `bad_request` for a value that cannot be read. */
export const limitsOf = (config: Config, context: LimitContext): ControllerLimits[] => [
  memory(config, context),
  cpuset(config, context),
  cpu(config),
  pids(config),
];
