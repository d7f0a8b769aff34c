/** `POST /agent/join`: how a host becomes a member (design 5), and the token that lets it. */
import { z } from 'zod';
import { HostResources } from './inventory.ts';

/** The join token: base64 of this JSON, LXD's fields (lxd-api 8.3). */
export const JoinToken = z.object({
  server_name: z.string(),
  fingerprint: z.string(),
  addresses: z.array(z.string()).min(1),
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  expires_at: z.string(),
});
export type JoinToken = z.infer<typeof JoinToken>;

/** What the joiner signs with its new key: possession of the key, bound to this token and this server. */
export function joinPayload(join: { serverName: string; secret: string; fingerprint: string }): Uint8Array {
  return new TextEncoder().encode(`longshore-join\n${join.serverName}\n${join.secret}\n${join.fingerprint}`);
}

export const JoinRequest = z.object({
  serverName: z.string(),
  secret: z.string(),
  /** The server certificate's SHA-256 that the joiner saw, lower-case hex. */
  fingerprint: z.string(),
  /** Ed25519 public key, SPKI DER in base64. */
  publicKey: z.string().max(256),
  /** Base64 signature over `joinPayload`. */
  signature: z.string().max(256),
  version: z.string().max(64),
  protocol: z.number().int(),
  resources: HostResources,
  /** The joiner's own keys for the cluster's pools and networks (`source` of pool `local`); absent ones get the drivers' defaults. */
  memberConfig: z
    .array(
      z.object({ entity: z.enum(['storage-pool', 'network']), name: z.string(), key: z.string(), value: z.string() }),
    )
    .max(1000)
    .optional(),
});
export type JoinRequest = z.infer<typeof JoinRequest>;

/** Repeating a join with the same token and the same key answers the same: a joiner that died may run again. */
export const JoinAnswer = z.object({ member: z.string(), clusterCertificate: z.string() });
export type JoinAnswer = z.infer<typeof JoinAnswer>;
