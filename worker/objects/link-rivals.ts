/**
 * Two hosts with one identity (a cloned disk), told apart by the boot that a hello names.
 *
 * Invariants. While the host that is the member is heard, no other boot comes in, whatever its epoch: the second host is given
 * no command, reports nothing and ends nothing. Once both were alive for a while, the second stays out until it boots anew,
 * also when the first is away or the control plane starts again: which of them is right is for a person to decide. A host
 * that has rebooted has left at most a dead socket, which is silent: it waits as long as that takes to be told, no longer.
 * Agents that name no boot are judged by their epoch alone.
 */
import { conflict, toWireError } from '#protocol/errors.ts';
import { HEARTBEAT_INTERVAL_MS } from '#protocol/frames.ts';
import { inUseText, twinText } from '#worker/domain/member.ts';
import type { Logger } from '#worker/lib/log.ts';
import { barBoot, recordTwin } from '#worker/state/barred-boots.ts';
import type { Db } from '#worker/state/db.ts';
import type { LinkSockets, Refusal } from './link-sockets.ts';

/** A host that lives has sent its heartbeat by then, even one that was late. */
const LIVE_MS = 1.5 * HEARTBEAT_INTERVAL_MS;
/** What a dead host had sent may arrive after the next boot's first hello, but not two heartbeats later. */
const PROOF_MS = 2 * HEARTBEAT_INTERVAL_MS;
/** Another boot's hello is being looked at: it has come in by then, or not. */
const ARRIVAL_MS = 500;

export interface Comer {
  member: string;
  bootId: string | undefined;
  /** For people: where it is. */
  place: string;
}

export interface Rivals {
  /**
   * The refusal, or null: it may come in, and no other boot until `settle`. `isBarred`: it was found to be a second host
   * before. Throws when libSQL does not answer.
   */
  judge(comer: Comer, isBarred: boolean): Promise<Refusal | null>;
  /** The hello that was let in is over, however it ended. */
  settle(comer: Comer): void;
}

export function createRivals({ db, log, sockets }: { db: Db; log: Logger; sockets: LinkSockets }): Rivals {
  const arriving = new Map<string, Comer>();
  /** Another boot than the member's that has been coming, and when the member's host was last heard. */
  const coming = new Map<string, { bootId: string; sinceMs: number; holderMs: number }>();

  return {
    judge: async (comer, isBarred) => {
      const { member, bootId, place } = comer;
      if (bootId === undefined) return null;
      const now = new Date().toISOString();
      const holder = sockets.find(member);
      const holderPlace = holder?.attachment.place ?? '';
      const final: Refusal = { error: toWireError(conflict(twinText(member, holderPlace, place))), retry: false };
      if (isBarred) {
        await recordTwin(db, { member, message: final.error.message, now });
        return final;
      }
      const refuse = (retryMs: number): Refusal => {
        log.warn('link.rival', { member, holder: holderPlace, comer: place });
        return { error: toWireError(conflict(inUseText(member, holderPlace))), retry: true, retryMs };
      };
      const first = arriving.get(member);
      if (first !== undefined && first.bootId !== bootId) return refuse(ARRIVAL_MS);
      const waiting = coming.get(member);
      const known = waiting?.bootId === bootId ? waiting : undefined;
      const held = holder?.attachment.bootId;
      // A link that closed while another boot was coming may be back in a moment.
      const isOther = holder === undefined ? known !== undefined : held !== undefined && held !== bootId;
      const holderMs = holder?.view.lastSeenMs ?? known?.holderMs ?? 0;
      const silentMs = Date.now() - holderMs;
      if (isOther && silentMs < LIVE_MS) {
        const sinceMs = known?.sinceMs ?? Date.now();
        coming.set(member, { bootId, sinceMs, holderMs });
        if (holderMs - sinceMs < PROOF_MS) return refuse(LIVE_MS - silentMs);
        await barBoot(db, { member, bootId, message: final.error.message, now });
        log.error('link.twin', { member, holder: holderPlace, comer: place });
        return final;
      }
      if (known !== undefined) coming.delete(member);
      arriving.set(member, comer);
      return null;
    },
    settle: (comer) => {
      if (arriving.get(comer.member) === comer) arriving.delete(comer.member);
    },
  };
}
