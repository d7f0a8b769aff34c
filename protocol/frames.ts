/**
 * Everything that may cross the member link, both ways. Each frame is one JSON text message, parsed at both ends; the
 * heartbeat is the literal text `ping`, answered `pong` by the runtime. Bulk bytes never ride here (see `stream.ts`).
 *
 * Order of a connection: control plane `challenge` → agent `hello` → control plane `welcome` (or `refused` and close)
 * → agent `inventory` (full) → commands, results and deltas until the socket goes.
 */
import { z } from 'zod';
import { CommandNameSchema } from './commands.ts';
import { WireError } from './errors.ts';
import { HOST_EVENTS_PER_FRAME, HostEvent } from './host-events.ts';
import { InstanceNames } from './instance-names.ts';
import { HostLoad, HostResources, HostState, InstanceReport } from './inventory.ts';
import { InstanceMetrics } from './metrics.ts';
import { QUERY_NAMES } from './queries.ts';

export const HEARTBEAT_REQUEST = 'ping';
export const HEARTBEAT_RESPONSE = 'pong';
/** Every 5 s: three may be lost before the 15 s of silence that make a member offline. */
export const HEARTBEAT_INTERVAL_MS = 5_000;
/** Half-open links: offline after this much silence, by the control plane's clock. */
export const SILENCE_LIMIT_MS = 15_000;
/** A closed link may come back within this time before the member counts as offline. */
export const RECONNECT_GRACE_MS = 3_000;
/** Larger frames are refused (workerd takes 32 MiB; a control frame never needs that). */
export const FRAME_LIMIT_BYTES = 1024 * 1024;

const Id = z.string().min(1).max(64);

/** What the agent signs with its Ed25519 key to prove that it is this member, in this process, for this nonce. */
export function helloPayload(hello: { nonce: string; member: string; epoch: number; processId: string }): Uint8Array {
  return new TextEncoder().encode(
    `longshore-hello\n${hello.nonce}\n${hello.member}\n${hello.epoch}\n${hello.processId}`,
  );
}

export const AgentFrame = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.number().int(),
    version: z.string().max(64),
    member: z.string().max(64),
    /** Grows by one with every start of the agent; a smaller one than seen is a cloned disk. */
    epoch: z.number().int().nonnegative(),
    /** Random per agent process: two clones with the same epoch differ here. */
    processId: Id,
    /** The same for all agents of one boot of one host, and for no other: tells a host that rebooted from a second one. */
    bootId: Id.optional(),
    /** Base64 Ed25519 signature over `helloPayload`. */
    signature: z.string().max(256),
    /** By which a control plane that has lost its database can know it again. SPKI DER in base64. */
    publicKey: z.string().max(256).optional(),
    resources: HostResources,
    load: HostLoad,
  }),
  /** `full`: instances not listed are not on the host. */
  z.object({ type: z.literal('inventory'), full: z.boolean(), instances: z.array(InstanceReport) }),
  z.object({ type: z.literal('load'), load: HostLoad, state: HostState.optional() }),
  z.object({ type: z.literal('resources'), resources: HostResources }),
  /** A sample, in one frame or several: it counts once its `last` has come. Those not listed do not run. */
  z.object({
    type: z.literal('metrics'),
    first: z.boolean(),
    last: z.boolean(),
    /** Of the agent. */
    uptimeSeconds: z.number().nonnegative(),
    instances: z.array(InstanceMetrics),
  }),
  /** The command is in the journal and will end, whatever happens. */
  z.object({ type: z.literal('ack'), id: Id }),
  /** Progress lines for the operation's metadata (`download_progress`, …). */
  z.object({ type: z.literal('progress'), id: Id, metadata: z.record(z.string(), z.string()) }),
  z.object({
    type: z.literal('result'),
    id: Id,
    name: CommandNameSchema,
    outcome: z.discriminatedUnion('ok', [
      z.object({ ok: z.literal(true), result: z.unknown() }),
      z.object({ ok: z.literal(false), error: WireError }),
    ]),
  }),
  z.object({
    type: z.literal('answer'),
    id: Id,
    outcome: z.discriminatedUnion('ok', [
      z.object({ ok: z.literal(true), result: z.unknown() }),
      z.object({ ok: z.literal(false), error: WireError }),
    ]),
  }),
  /** What happened while there was no link, in order; sent until it is acknowledged. Before the full inventory. */
  z.object({ type: z.literal('events'), events: z.array(HostEvent).max(HOST_EVENTS_PER_FRAME) }),
  /** A frame of the other side could not be read. */
  z.object({ type: z.literal('error'), error: WireError }),
]);
export type AgentFrame = z.infer<typeof AgentFrame>;

export const ControlFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('challenge'), nonce: z.string().min(16).max(128), protocol: z.number().int() }),
  /** `session` is the bearer token for `/agent/*` and the local socket's forwarding; a new one comes before it expires. */
  z.object({ type: z.literal('welcome'), session: z.string(), protocol: z.number().int() }),
  z.object({ type: z.literal('session'), session: z.string() }),
  /** The link is closed after this; `retry` false means that trying again cannot help. */
  z.object({
    type: z.literal('refused'),
    error: WireError,
    retry: z.boolean(),
    /** Trying again can help from then on, and not before. */
    retryMs: z.number().int().nonnegative().optional(),
    /** The member's present name: the agent keeps it and comes again under it. */
    renamed: z.string().max(64).optional(),
    /** The member was removed, for good. `cleanUp`: what the agent made for the cluster may go, as nothing was in it. */
    removed: z.object({ cleanUp: z.boolean() }).optional(),
  }),
  z.object({
    type: z.literal('command'),
    id: Id,
    name: CommandNameSchema,
    params: z.unknown(),
    /** That it is part of, for the agent's log. */
    operationId: Id.optional(),
  }),
  z.object({ type: z.literal('cancel'), id: Id }),
  /** The result has been applied; the agent may forget it. */
  z.object({ type: z.literal('result-ack'), id: Id }),
  /** Events up to this one are written; the agent may forget them. */
  z.object({ type: z.literal('events-ack'), seq: z.number().int() }),
  /** A question about the host: not journaled, answered once or not at all. */
  z.object({ type: z.literal('query'), id: Id, name: z.enum(QUERY_NAMES), params: z.unknown() }),
  /** Definitions of the cluster have changed: the copy that this host keeps of them is old. */
  z.object({ type: z.literal('changed') }),
  /** Somebody looks: sample now, and go on for so long. */
  z.object({ type: z.literal('metrics'), seconds: z.number().int().positive().max(3600) }),
  /** Names of the cluster's instances, for the host's DNS. `full`: what is not listed here or in later ones is gone. */
  z.object({ type: z.literal('names'), full: z.boolean(), instances: z.array(InstanceNames) }),
  z.object({ type: z.literal('error'), error: WireError }),
]);
export type ControlFrame = z.infer<typeof ControlFrame>;
