/**
 * Placement: which member takes an instance. Filters say no with a reason, scores choose among the rest, and the whole answer
 * can be shown. Pure: the same input gives the same answer, whatever the order of its lists.
 */
import type { HostLoad } from '#protocol/inventory.ts';

export interface PlacementMember {
  name: string;
  online: boolean;
  evacuated: boolean;
  architecture: string;
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

export interface PlacementInput {
  members: readonly PlacementMember[];
  target: string | null;
  architecture: string;
  pool: string;
  networks: readonly string[];
  /** 0: no limit set. */
  memoryBytes: number;
}

type Score = { member: string; score: number };
type Rejection = { member: string; reason: string };

export type PlacementResult =
  | { ok: true; member: string; scores: Score[]; rejections: Rejection[] }
  | { ok: false; code: 'not_found' | 'forbidden' | 'unavailable'; message: string; rejections: Rejection[] };

/** Limits are ceilings that few instances reach; hosts overcommit them by half before saying no. */
export const MEMORY_OVERCOMMIT = 1.5;
/** Memory a host keeps for itself. */
export const HOST_RESERVE = 0.05;
/** What any instance needs to start; limits are promises, and few use them at once. */
const START_BYTES = 128 * 1024 * 1024;

/**
 * Weights. Memory and load count in steps (`band`), so that hosts about equally busy get about equal points: two steps of
 * either are less than one instance, hence the instance count decides while the loads are alike. An image that is there
 * decides only between equals.
 */
const MEMORY_POINTS = 40;
const CPU_POINTS = 40;
const INSTANCE_POINTS = 25;
const IMAGE_POINTS = 0.5;
const BANDS = 4;
/** More than any number of instances: a busy host gets nothing while a quiet one can take it. */
const BUSY_POINTS = 1_000_000;
/**
 * Busy: every core taken, and both this much more and twice as much as on the quietest candidate. Load averages jitter, and
 * what was told up to ten seconds ago must not tell apart hosts that are loaded alike.
 */
const BUSY_MARGIN = 0.5;
const BUSY_FACTOR = 2;

/** 0 … 1 in steps of a quarter: differences within a step are noise. */
const band = (fraction: number): number => Math.round(Math.min(1, Math.max(0, fraction)) * BANDS) / BANDS;

/** Memory that is free now, beyond what the host keeps for itself. */
function availableBytes(member: PlacementMember): number {
  const available = member.load?.memoryAvailableBytes ?? member.memoryTotalBytes - member.reservedBytes;
  return Math.max(0, available - totalBytes(member) * HOST_RESERVE);
}

/** What of that is left when instances on their way use what they were promised. */
function freeBytes(member: PlacementMember): number {
  // Without a load, all promises are subtracted already.
  return Math.max(0, availableBytes(member) - (member.load === null ? 0 : member.pendingBytes));
}

function totalBytes(member: PlacementMember): number {
  return member.load?.memoryTotalBytes ?? member.memoryTotalBytes;
}

/** Runnable processes per core; 0 when not known. */
function loadPerCore(member: PlacementMember): number {
  return member.load === null ? 0 : member.load.cpuLoad / Math.max(1, member.load.cpuCount);
}

function rejectMemory(member: PlacementMember, input: PlacementInput): string | null {
  const total = totalBytes(member);
  const promised = member.reservedBytes + input.memoryBytes;
  if (promised > total * (MEMORY_OVERCOMMIT - HOST_RESERVE)) return 'its memory is promised to other instances';
  return availableBytes(member) < START_BYTES ? 'it has too little free memory' : null;
}

function rejectScheduling(member: PlacementMember, target: string | null): string | null {
  const mode = member.config['scheduler.instance'] ?? 'all';
  if (target?.startsWith('@') && !member.groups.includes(target.slice(1)))
    return `it is not in group "${target.slice(1)}"`;
  if (mode === 'manual') return 'it takes instances only by name (scheduler.instance=manual)';
  if (mode === 'group' && !target?.startsWith('@'))
    return 'it takes instances only by group (scheduler.instance=group)';
  return null;
}

/** What any member must have, chosen by name or not. */
function rejectHost(member: PlacementMember, input: PlacementInput): string | null {
  if (!member.online) return 'it is offline';
  if (member.evacuated) return 'it is evacuated';
  if (member.architecture !== input.architecture) return `its architecture is ${member.architecture}`;
  if (!member.pools.has(input.pool)) return `storage pool "${input.pool}" does not exist there`;
  const missing = input.networks.find((network) => !member.networks.has(network));
  return missing === undefined ? null : `network "${missing}" does not exist there`;
}

/** The score of a member that can take it; higher is better. `quietest` is the smallest load per core among the candidates. */
export function scoreOf(member: PlacementMember, quietest: number): number {
  const load = loadPerCore(member);
  const memory = band(freeBytes(member) / Math.max(1, totalBytes(member))) * MEMORY_POINTS;
  const idle = band(1 - load) * CPU_POINTS;
  const isBusy = load >= 1 && load - quietest >= BUSY_MARGIN && load >= quietest * BUSY_FACTOR;
  const busy = isBusy ? BUSY_POINTS : 0;
  return memory + idle + (member.hasImage ? IMAGE_POINTS : 0) - member.instances * INSTANCE_POINTS - busy;
}

/** By score, then by name. */
const byRank = (a: Score, b: Score): number => b.score - a.score || (a.member < b.member ? -1 : 1);

/** Picks a member, or says why none can take the instance. A member named as target is asked only whether it can. */
export function place(input: PlacementInput): PlacementResult {
  const members = [...input.members].sort((a, b) => (a.name < b.name ? -1 : 1));
  const { target } = input;
  if (target !== null && !target.startsWith('@')) return placeOn(input, members, target);
  const judged = members.map((member) => ({
    member,
    reason: rejectScheduling(member, target) ?? rejectHost(member, input) ?? rejectMemory(member, input),
  }));
  const rejections = judged.flatMap(({ member, reason }) => (reason === null ? [] : [{ member: member.name, reason }]));
  const candidates = judged.flatMap(({ member, reason }) => (reason === null ? [member] : []));
  const quietest = Math.min(...candidates.map(loadPerCore));
  const scores = candidates.map((member) => ({ member: member.name, score: scoreOf(member, quietest) })).sort(byRank);
  const [best] = scores;
  if (best !== undefined) return { ok: true, member: best.member, scores, rejections };
  const details = rejections.map(({ member, reason }) => `${member}: ${reason}`).join('; ');
  const message = `No suitable cluster member${details === '' ? '' : ` (${details})`}`;
  return { ok: false, code: 'unavailable', message, rejections };
}

function placeOn(input: PlacementInput, members: readonly PlacementMember[], target: string): PlacementResult {
  const rejections = members.flatMap(({ name }) =>
    name === target ? [] : [{ member: name, reason: 'not the target' }],
  );
  const member = members.find(({ name }) => name === target);
  if (member === undefined) return { ok: false, code: 'not_found', message: 'Cluster member not found', rejections };
  if (member.evacuated) return { ok: false, code: 'forbidden', message: 'Cluster member is evacuated', rejections };
  const reason = rejectHost(member, input) ?? rejectMemory(member, input);
  if (reason === null)
    return {
      ok: true,
      member: target,
      scores: [{ member: target, score: scoreOf(member, loadPerCore(member)) }],
      rejections,
    };
  const message = `Cluster member "${target}" cannot take the instance: ${reason}`;
  return { ok: false, code: 'unavailable', message, rejections: [...rejections, { member: target, reason }] };
}
