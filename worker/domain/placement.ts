/**
 * Placement: which member takes an instance. Filters say no with a reason, scores choose among the rest, and the whole answer
 * can be shown. Pure: the same input gives the same answer, whatever the order of its lists.
 */
import { formatBytes } from '#protocol/units.ts';
import { type PlacementPolicy, reservedForHost } from './placement-policy.ts';
import {
  availableBytes,
  type PlacementMember,
  type ScoreParts,
  scoreMembers,
  sumOf,
  totalBytes,
} from './placement-score.ts';

export type { PlacementMember } from './placement-score.ts';

export interface PlacementInput {
  members: readonly PlacementMember[];
  policy: PlacementPolicy;
  target: string | null;
  architecture: string;
  pool: string;
  networks: readonly string[];
  /** 0: no limit set. */
  memoryBytes: number;
}

export interface Score {
  member: string;
  score: number;
  parts: ScoreParts;
}
type Rejection = { member: string; reason: string };

export type PlacementResult =
  | { ok: true; member: string; scores: Score[]; rejections: Rejection[] }
  | { ok: false; code: 'not_found' | 'forbidden' | 'unavailable'; message: string; rejections: Rejection[] };

/** What any instance needs to start; limits are promises, and few use them at once. */
const START_BYTES = 128 * 1024 * 1024;

function rejectMemory(member: PlacementMember, input: PlacementInput): string | null {
  const { policy, memoryBytes } = input;
  const total = totalBytes(member);
  const allowed = Math.max(0, total - reservedForHost(policy, total)) * policy.memoryOvercommit;
  const promised = member.reservedBytes + memoryBytes;
  if (promised > allowed) {
    const ratio = `${formatBytes(promised)} with this one, at most ${formatBytes(allowed)}`;
    return `its memory is promised to other instances (${ratio})`;
  }
  const available = availableBytes(member, policy);
  return available < START_BYTES ? `it has too little free memory (${formatBytes(available)})` : null;
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
  if (member.blocked) return 'its agent is too old';
  if (!member.online) return 'it is offline';
  if (member.evacuated) return 'it is evacuated';
  if (member.architecture !== input.architecture) return `its architecture is ${member.architecture}`;
  if (!member.pools.has(input.pool)) return `storage pool "${input.pool}" does not exist there`;
  const missing = input.networks.find((network) => !member.networks.has(network));
  return missing === undefined ? null : `network "${missing}" does not exist there`;
}

/** By score, then by name. */
const byRank = (a: Score, b: Score): number => b.score - a.score || (a.member < b.member ? -1 : 1);

const rank = (candidates: readonly PlacementMember[], policy: PlacementPolicy): Score[] =>
  scoreMembers(candidates, policy)
    .map(({ member, parts }) => ({ member: member.name, score: sumOf(parts), parts }))
    .sort(byRank);

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
  const scores = rank(candidates, input.policy);
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
  if (reason === null) return { ok: true, member: target, scores: rank([member], input.policy), rejections };
  const message = `Cluster member "${target}" cannot take the instance: ${reason}`;
  return { ok: false, code: 'unavailable', message, rejections: [...rejections, { member: target, reason }] };
}
