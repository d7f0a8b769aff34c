/** What the caller of a state change still has to do after the batch: tell listeners, wake members, drop blobs. */
import type { Command } from '#protocol/commands.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';

export interface Followup {
  /** In order: the lifecycle events, then the operations as they are now. Durable already; listeners want them. */
  events: ClusterEvent[];
  /** Commands that the same batch wrote; in libSQL already, so losing the delivery only delays them. */
  deliveries: { member: string; commands: Command[] }[];
  /** Keys of blobs that no image refers to any more. */
  blobs?: string[];
}

export const NOTHING: Followup = { events: [], deliveries: [] };

/** One follow-up out of several, in order; deliveries of one member joined. */
export function mergeFollowups(followups: readonly Followup[]): Followup {
  const byMember = new Map<string, Command[]>();
  for (const { member, commands } of followups.flatMap((f) => f.deliveries)) {
    byMember.set(member, [...(byMember.get(member) ?? []), ...commands]);
  }
  const blobs = followups.flatMap((f) => f.blobs ?? []);
  return {
    events: followups.flatMap((f) => f.events),
    deliveries: [...byMember].map(([member, commands]) => ({ member, commands })),
    ...(blobs.length === 0 ? {} : { blobs }),
  };
}
