/** Identifiers: random ones, and the shard that a member's name belongs to. */

/** A fresh UUID (version 4), from the runtime's cryptographic source. */
export const newId = (): string => crypto.randomUUID();

/**
 * The Links shard of a member: FNV-1a of the name, modulo `shards`. Stable for ever, since both the agent's upgrade and every
 * delivery must meet in the same object; changing `shards` makes the agents reconnect.
 */
export function shardOf(member: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(member)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % shards;
}
