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

const MemberConfigQuestion = z.object({
  entity: z.enum(['storage-pool', 'network']),
  name: z.string(),
  key: z.string(),
  value: z.string(),
  description: z.string(),
});

/** `POST /agent/join/plan`: asks what a join with this token would mean. Nothing is used up. */
export const JoinPlanRequest = JoinRequest.pick({ serverName: true, secret: true, fingerprint: true, publicKey: true });
export type JoinPlanRequest = z.infer<typeof JoinPlanRequest>;

export const JoinPlan = z.object({
  /** The token was used by this very key: the host is a member already, only its own files may be missing. */
  joined: z.boolean(),
  /** How many members there are: zero for the first host. */
  members: z.number().int(),
  /** What the host will get. */
  pools: z.array(z.object({ name: z.string(), driver: z.string(), config: z.record(z.string(), z.string()) })),
  networks: z.array(z.object({ name: z.string(), type: z.string(), config: z.record(z.string(), z.string()) })),
  /** The keys that each member has a value of its own for. */
  memberConfig: z.array(MemberConfigQuestion),
});
export type JoinPlan = z.infer<typeof JoinPlan>;

/**
 * `POST /agent/join/token`: a join token for who has another right to join: the trust password, the bootstrap token of a
 * control plane without members, or (with neither) a TLS certificate that was trusted as a joining server's.
 */
export const JoinTokenRequest = z.object({
  serverName: z.string(),
  password: z.string().max(1024).optional(),
  bootstrap: z.string().max(256).optional(),
});
export type JoinTokenRequest = z.infer<typeof JoinTokenRequest>;
