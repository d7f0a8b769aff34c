/** What the caller of a state change still has to do after the batch: tell listeners, wake members, drop blobs. */
import type { ClusterEvent, Order } from '#worker/objects/contract.ts';

export interface Followup {
  /** In order: the lifecycle events, then the operations as they are now. Durable already; listeners want them. */
  events: ClusterEvent[];
  /** Orders that the same batch wrote; in libSQL already, so losing the delivery only delays them. */
  deliveries: { member: string; orders: Order[] }[];
  /** Keys of blobs that no image refers to any more. */
  blobs?: string[];
}

export const NOTHING: Followup = { events: [], deliveries: [] };

/** One follow-up out of several, in order; deliveries of one member joined. */
export function mergeFollowups(followups: readonly Followup[]): Followup {
  const byMember = new Map<string, Order[]>();
  for (const { member, orders } of followups.flatMap((f) => f.deliveries)) {
    byMember.set(member, [...(byMember.get(member) ?? []), ...orders]);
  }
  const blobs = followups.flatMap((f) => f.blobs ?? []);
  return {
    events: followups.flatMap((f) => f.events),
    deliveries: [...byMember].map(([member, orders]) => ({ member, orders })),
    ...(blobs.length === 0 ? {} : { blobs }),
  };
}
