/**
 * How the operator wants instances placed: the `placement.*` keys of the server's configuration. Pure.
 *
 * | key                           | values                     | default  |                                                     |
 * |-------------------------------|----------------------------|----------|-----------------------------------------------------|
 * | `placement.strategy`          | `spread`, `pack`           | `spread` | the emptiest member, or the fullest that has room   |
 * | `placement.memory_overcommit` | a ratio, 0.1 to 100        | `1.5`    | how much memory limits may promise of what there is |
 * | `placement.reserve_memory`    | a size, or a share (`10%`) | `5%`     | memory that a member keeps for itself               |
 * | `placement.failure_domains`   | boolean                    | `true`   | of members about equal, another failure domain      |
 */
import { parseBool, parseMemoryBytes } from '#protocol/units.ts';
import type { Config } from './config.ts';

export interface PlacementPolicy {
  strategy: 'spread' | 'pack';
  memoryOvercommit: number;
  /** A size or a share of the member's memory, as it was set. */
  reserveMemory: string;
  failureDomains: boolean;
}

/** Limits are ceilings that few instances reach; hosts overcommit them by half before saying no. */
export const DEFAULT_POLICY: PlacementPolicy = {
  strategy: 'spread',
  memoryOvercommit: 1.5,
  reserveMemory: '5%',
  failureDomains: true,
};

const STRATEGIES = ['spread', 'pack'] as const;
const OVERCOMMIT = { least: 0.1, most: 100 };

const parseRatio = (value: string): number | null => (/^\d{1,3}(\.\d{1,4})?$/.test(value) ? Number(value) : null);

/** LXD's words for a value that is not good, or null; by key. */
export const PLACEMENT_KEYS: readonly [string, (value: string) => string | null][] = [
  ['placement.strategy', (value) => (STRATEGIES.some((known) => known === value) ? null : notOneOf(value, STRATEGIES))],
  ['placement.memory_overcommit', checkOvercommit],
  ['placement.reserve_memory', checkReserve],
  ['placement.failure_domains', (value) => (parseBool(value) === null ? 'invalid boolean' : null)],
];

const notOneOf = (value: string, known: readonly string[]) =>
  `Invalid value "${value}" (not one of [${known.join(' ')}])`;

function checkOvercommit(value: string): string | null {
  const ratio = parseRatio(value);
  if (ratio === null) return 'invalid ratio';
  const { least, most } = OVERCOMMIT;
  return ratio < least || ratio > most ? `Value must be between ${least} and ${most}` : null;
}

function checkReserve(value: string): string | null {
  if (parseMemoryBytes(value, 1) === null) return `Invalid size "${value}"`;
  return value.endsWith('%') && Number.parseInt(value, 10) > 100 ? 'Value must be at most 100%' : null;
}

/** The policy that the server's configuration makes. Values that were never checked count as not set. */
export function placementPolicy(config: Config): PlacementPolicy {
  const given = (key: string) => {
    const value = config[key];
    const check = PLACEMENT_KEYS.find(([name]) => name === key)?.[1];
    return value === undefined || value === '' || check?.(value) !== null ? undefined : value;
  };
  const domains = given('placement.failure_domains');
  const overcommit = given('placement.memory_overcommit');
  return {
    strategy: given('placement.strategy') === 'pack' ? 'pack' : 'spread',
    memoryOvercommit: overcommit === undefined ? DEFAULT_POLICY.memoryOvercommit : Number(overcommit),
    reserveMemory: given('placement.reserve_memory') ?? DEFAULT_POLICY.reserveMemory,
    failureDomains: domains === undefined ? DEFAULT_POLICY.failureDomains : parseBool(domains) === true,
  };
}

/** Of a member with this much memory. */
export const reservedForHost = (policy: PlacementPolicy, totalBytes: number): number =>
  parseMemoryBytes(policy.reserveMemory, totalBytes) ?? 0;
