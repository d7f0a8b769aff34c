/**
 * How good a member is for an instance, in points, each part of which can be shown. Higher is better.
 *
 * Memory and load count in steps (`band`), so that members about equally busy get about equal points: two steps of either are
 * less than one instance, hence the instance count decides while the loads are alike. An image that is there decides only
 * between equals.
 */
import type { HostLoad } from '#protocol/inventory.ts';
import { type PlacementPolicy, reservedForHost } from './placement-policy.ts';

export interface PlacementMember {
  name: string;
  online: boolean;
  /** Connected, but its agent is too old to be given commands. */
  blocked: boolean;
  evacuated: boolean;
  architecture: string;
  failureDomain: string;
  groups: readonly string[];
  config: Readonly<Record<string, string>>;
  /** Null when it has not told yet. */
  load: HostLoad | null;
  /** What the host said when it came, for when the load is not known. */
  memoryTotalBytes: number;
  cpuCount: number;
  /** Instances there, with those being created and reserved. */
  instances: number;
  /** Memory promised to them by limits, and by reservations. */
  reservedBytes: number;
  /** Of that, what is promised to instances that do not use it yet (reservations, creations): not in the load. */
  pendingBytes: number;
  /** Pools and networks that exist there. */
  pools: ReadonlySet<string>;
  networks: ReadonlySet<string>;
  hasImage: boolean;
}

/** What a score is made of; its sum. */
export interface ScoreParts {
  memory: number;
  cpu: number;
  instances: number;
  image: number;
  failureDomain: number;
  busy: number;
}

const MEMORY_POINTS = 40;
const CPU_POINTS = 40;
const INSTANCE_POINTS = 25;
const IMAGE_POINTS = 0.5;
/** Less than one instance, so that members stay even; more than a step of memory or load. */
const DOMAIN_POINTS = 20;
const BANDS = 4;
/** More than any number of instances: a busy host gets nothing while a quiet one can take it. */
const BUSY_POINTS = 1_000_000;
/**
 * Busy: nearly every core taken, and both this much more and twice as much as on the quietest candidate. Loads jitter, and
 * what was told up to ten seconds ago must not tell apart hosts that are loaded alike.
 */
const BUSY_LOAD = 0.75;
const BUSY_MARGIN = 0.5;
const BUSY_FACTOR = 2;
/**
 * Below that, a member that is busier than the quietest by more than the jitter gets a smaller share: each core that is taken
 * makes an instance there count for so many more.
 */
const JITTER = 0.25;
const TAKEN_FACTOR = 12;

/** 0 … 1 in steps of a quarter: differences within a step are noise. */
const band = (fraction: number): number => Math.round(Math.min(1, Math.max(0, fraction)) * BANDS) / BANDS;

export const totalBytes = (member: PlacementMember): number => member.load?.memoryTotalBytes ?? member.memoryTotalBytes;

/** Memory that is free now, beyond what the host keeps for itself. */
export function availableBytes(member: PlacementMember, policy: PlacementPolicy): number {
  const available = member.load?.memoryAvailableBytes ?? member.memoryTotalBytes - member.reservedBytes;
  return Math.max(0, available - reservedForHost(policy, totalBytes(member)));
}

/** What of that is left when instances on their way use what they were promised. */
function freeBytes(member: PlacementMember, policy: PlacementPolicy): number {
  // Without a load, all promises are subtracted already.
  return Math.max(0, availableBytes(member, policy) - (member.load === null ? 0 : member.pendingBytes));
}

/** Runnable processes per core; 0 when not known. */
const loadPerCore = (member: PlacementMember): number =>
  member.load === null ? 0 : member.load.cpuLoad / Math.max(1, member.load.cpuCount);

/** Instances per member, by failure domain. */
function domainFill(members: readonly PlacementMember[]): Map<string, number> {
  const average = (domain: string) => {
    const own = members.filter(({ failureDomain }) => failureDomain === domain);
    return own.reduce((total, { instances }) => total + instances, 0) / own.length;
  };
  return new Map([...new Set(members.map(({ failureDomain }) => failureDomain))].map((name) => [name, average(name)]));
}

/** Scores members against one another: all that can take the instance. */
export function scoreMembers(
  candidates: readonly PlacementMember[],
  policy: PlacementPolicy,
): { member: PlacementMember; parts: ScoreParts }[] {
  const quietest = Math.min(...candidates.map(loadPerCore));
  const fill = domainFill(candidates);
  const emptiest = Math.min(...fill.values());
  const spread = policy.strategy === 'spread';
  return candidates.map((member) => {
    const load = loadPerCore(member);
    const free = band(freeBytes(member, policy) / Math.max(1, totalBytes(member)));
    const isBusy = load >= BUSY_LOAD && load - quietest >= BUSY_MARGIN && load >= quietest * BUSY_FACTOR;
    // Cores beyond all of them: hosts that are all overloaded are not told apart.
    const taken = Math.max(0, Math.min(1, load) - Math.min(1, quietest) - JITTER);
    const smaller = INSTANCE_POINTS * TAKEN_FACTOR * taken * (member.instances + 1);
    const isFuller = (fill.get(member.failureDomain) ?? 0) > emptiest;
    const parts = {
      memory: (spread ? free : 1 - free) * MEMORY_POINTS,
      cpu: Math.round(band(1 - load) * CPU_POINTS - smaller),
      instances: (spread ? -INSTANCE_POINTS : INSTANCE_POINTS) * member.instances,
      image: member.hasImage ? IMAGE_POINTS : 0,
      failureDomain: spread && policy.failureDomains && isFuller ? -DOMAIN_POINTS : 0,
      busy: isBusy ? -BUSY_POINTS : 0,
    };
    // -0 is no number to show.
    return { member, parts: { ...parts, instances: parts.instances || 0 } };
  });
}

export const sumOf = (parts: ScoreParts): number => Object.values(parts).reduce((total, points) => total + points, 0);
