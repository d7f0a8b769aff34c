/**
 * Placement, serialised. Requests that come together share one read of the database, but are decided one after another, each
 * seeing the reservations of those before it. A request never shares a read that began before it came.
 *
 * A reservation counts for a decision unless its row is in what was read, it was settled before the read began, or it is
 * older than `RESERVATION_MS`.
 */
import type { WireError } from '#protocol/errors.ts';
import { type PlacementMember, place } from '#worker/domain/placement.ts';
import type { PlacementSnapshot } from '#worker/state/placement.ts';
import type { MemberPresence, Placement, PlacementRequest } from './contract.ts';

export type PlaceAnswer = { ok: true; placement: Placement } | { ok: false; error: WireError };

/** Longer than any request lives between being placed and having its row. */
export const RESERVATION_MS = 30_000;

export interface PlacerDeps {
  /** The instances that reservations stand for → the members and which of those instances they count already. */
  read(reserved: string[]): Promise<PlacementSnapshot>;
  presence(): Promise<MemberPresence[]>;
  nowMs(): number;
}

interface Reservation {
  instanceId: string;
  member: string;
  memoryBytes: number;
  sinceMs: number;
  settled: boolean;
}

interface Waiting {
  request: PlacementRequest;
  resolve(answer: PlaceAnswer): void;
  reject(error: unknown): void;
}

/** Lives as long as its Cluster object; reservations lost with it are at most 30 s of instances not yet in the database. */
export class Placer {
  readonly #deps: PlacerDeps;
  readonly #reservations = new Map<string, Reservation>();
  #queue: Waiting[] = [];
  #draining = false;

  constructor(deps: PlacerDeps) {
    this.#deps = deps;
  }

  /** Picks a member and reserves there. Rejects only when the database cannot be read. */
  place(request: PlacementRequest): Promise<PlaceAnswer> {
    const answer = new Promise<PlaceAnswer>((resolve, reject) => {
      this.#queue.push({ request, resolve, reject });
    });
    if (!this.#draining) void this.#drain();
    return answer;
  }

  /** The instance's row is written, or will never be: from the next read on the reservation does not count. */
  settle(instanceId: string): void {
    const reservation = this.#reservations.get(instanceId);
    if (reservation !== undefined) reservation.settled = true;
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      this.#forget();
      try {
        const [snapshot, presence] = await Promise.all([
          this.#deps.read([...this.#reservations.keys()]),
          this.#deps.presence(),
        ]);
        for (const { request, resolve } of batch) resolve(this.#decide(request, snapshot, presence));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#draining = false;
  }

  /** Just before a read begins: what was settled by now is in it, or gone. */
  #forget(): void {
    const oldest = this.#deps.nowMs() - RESERVATION_MS;
    for (const [id, reservation] of this.#reservations) {
      if (reservation.settled || reservation.sinceMs <= oldest) this.#reservations.delete(id);
    }
  }

  #decide(request: PlacementRequest, snapshot: PlacementSnapshot, presence: MemberPresence[]): PlaceAnswer {
    const counting = [...this.#reservations.values()].filter(
      ({ instanceId }) => instanceId !== request.instanceId && !snapshot.counted.includes(instanceId),
    );
    const members = snapshot.members
      .filter((member) => member.name !== request.avoid)
      .map((member) => toPlacementMember(member, request, counting, presence));
    const { target, architecture, pool, networks, memoryBytes } = request;
    const { policy } = snapshot;
    const result = place({ members, policy, target, architecture, pool, networks, memoryBytes });
    if (!result.ok) return { ok: false, error: { code: result.code, message: result.message } };
    const { member, rejections } = result;
    const scores = result.scores.map(({ parts, ...score }) => ({ ...score, parts: { ...parts } }));
    const sinceMs = this.#deps.nowMs();
    const reservation = { instanceId: request.instanceId, member, memoryBytes, sinceMs, settled: false };
    this.#reservations.set(request.instanceId, reservation);
    return { ok: true, placement: { member, strategy: policy.strategy, scores, rejections } };
  }
}

function toPlacementMember(
  member: PlacementSnapshot['members'][number],
  request: PlacementRequest,
  reservations: readonly Reservation[],
  presence: readonly MemberPresence[],
): PlacementMember {
  const own = reservations.filter((reservation) => reservation.member === member.name);
  const reserved = own.reduce((total, reservation) => total + reservation.memoryBytes, 0);
  const there = presence.find((entry) => entry.member === member.name);
  return {
    ...member,
    // Without a word from Links (it has just started) the database knows: the command would wait for the member.
    online: there?.online ?? member.online,
    blocked: there?.blocked ?? member.blocked,
    load: there?.load ?? null,
    instances: member.instances + own.length,
    reservedBytes: member.reservedBytes + reserved,
    pendingBytes: member.creatingBytes + reserved,
    pools: new Set(member.pools),
    networks: new Set(member.networks),
    hasImage: request.imageFingerprint !== null && member.images.includes(request.imageFingerprint),
  };
}
