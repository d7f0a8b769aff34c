/**
 * What one member may be asked to do: command name → params and result.
 *
 * A command is written to libSQL before it is sent, runs at most once per id on its member, and its result is applied
 * exactly once. Executors live in `agent/commands`, the database effect of each result in `worker/state/effects.ts`; the
 * compiler asks both sides for every name below.
 */
import { z } from 'zod';
import { InstanceReport } from './inventory.ts';

const ConfigMap = z.record(z.string(), z.string());
const Device = z.record(z.string(), z.string());
export const DeviceMap = z.record(z.string(), Device);
export type DeviceMap = z.infer<typeof DeviceMap>;

/** Where an instance is, as the agent names it. */
export const InstanceRef = z.object({ project: z.string(), name: z.string() });
export type InstanceRef = z.infer<typeof InstanceRef>;

/** All a host needs to know of one instance; kept beside it on the host. */
export const InstanceSpec = InstanceRef.extend({
  id: z.string(),
  type: z.enum(['container']),
  architecture: z.string(),
  description: z.string(),
  ephemeral: z.boolean(),
  createdAt: z.string(),
  profiles: z.array(z.string()),
  /** The instance's own keys and devices (what a backup needs). */
  config: ConfigMap,
  devices: DeviceMap,
  /** Profiles and own keys merged: what the host acts on. */
  expandedConfig: ConfigMap,
  expandedDevices: DeviceMap,
  /** Whose custom volumes its disks are; absent: those of its own project. */
  volumeProject: z.string().optional(),
});
export type InstanceSpec = z.infer<typeof InstanceSpec>;

/** The blobs of an image. Fetched from `/agent/images/<fingerprint>/<part>`. */
export const ImageSource = z.object({
  fingerprint: z.string(),
  parts: z.array(
    z.object({ name: z.enum(['unified', 'metadata', 'rootfs']), sizeBytes: z.number(), filename: z.string() }),
  ),
});
export type ImageSource = z.infer<typeof ImageSource>;

/** A storage pool as one member has it: the cluster's keys and the member's own, merged. */
export const PoolSpec = z.object({ name: z.string(), driver: z.enum(['zfs', 'btrfs', 'dir']), config: ConfigMap });
export type PoolSpec = z.infer<typeof PoolSpec>;

/** A custom volume as its member has it. */
export const VolumeRef = z.object({ project: z.string(), name: z.string() });
export type VolumeRef = z.infer<typeof VolumeRef>;
export const VolumeSpec = VolumeRef.extend({ description: z.string(), config: ConfigMap });
export type VolumeSpec = z.infer<typeof VolumeSpec>;

/** A managed network as one member has it. */
export const NetworkSpec = z.object({
  name: z.string(),
  type: z.enum(['bridge']),
  config: ConfigMap,
  description: z.string(),
});
export type NetworkSpec = z.infer<typeof NetworkSpec>;

/** A release of the agent as the control plane offers it. */
export const AgentRelease = z.object({
  version: z.string().max(64),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().positive(),
});
export type AgentRelease = z.infer<typeof AgentRelease>;

export const StateAction = z.enum(['start', 'stop', 'restart', 'freeze', 'unfreeze']);
export type StateAction = z.infer<typeof StateAction>;

/** Volatile keys the host decided, merged into the instance's config. An empty value removes the key. */
const Volatile = ConfigMap;
const InstanceOutcome = z.object({ report: InstanceReport, volatile: Volatile });
const Empty = z.object({});

/** What takes a change back out of an instance's row (RFC 7396): null removes, what is absent has not changed. */
export const InstanceUndo = z.object({
  config: z.record(z.string(), z.string().nullable()),
  devices: z.record(z.string(), z.record(z.string(), z.string().nullable()).nullable()),
  profiles: z.array(z.string()).optional(),
  description: z.string().optional(),
  ephemeral: z.boolean().optional(),
  memoryBytes: z.number().optional(),
});
export type InstanceUndo = z.infer<typeof InstanceUndo>;

export const COMMANDS = {
  /**
   * Makes the instance: root volume (cloned from the image, or empty), config, NICs; starts it when asked. A copy has no image
   * but `copyOf`, an instance of the same host and pool, or `from`: the member that sends it by the stream `streamId`.
   */
  'instance.create': {
    params: z.object({
      spec: InstanceSpec,
      image: ImageSource.nullable(),
      pool: PoolSpec,
      networks: z.array(NetworkSpec),
      start: z.boolean(),
      copyOf: InstanceRef.optional(),
      streamId: z.string().optional(),
      from: z.string().optional(),
    }),
    result: InstanceOutcome,
  },
  /** `spec` is the newest one: it is applied before a start. `timeoutSeconds` -1 waits for ever, 0 is the driver's default. */
  'instance.state': {
    params: z.object({
      spec: InstanceSpec,
      action: StateAction,
      timeoutSeconds: z.number().int(),
      force: z.boolean(),
      /** For its member's evacuation or restoration: killed when the time to stop is over, progress told as that. */
      evacuation: z.boolean().optional(),
    }),
    result: InstanceOutcome,
  },
  /**
   * New config and devices; limits and devices change live where the kernel can. `undo` is for the control plane itself, when
   * the member refuses; without it the row stays as it is wanted.
   */
  'instance.update': {
    params: z.object({ spec: InstanceSpec, networks: z.array(NetworkSpec), undo: InstanceUndo.optional() }),
    result: InstanceOutcome,
  },
  'instance.rename': { params: z.object({ spec: InstanceSpec, newName: z.string() }), result: InstanceOutcome },
  /** Also right for an instance that is half there or not there at all. With `id`, another instance of that name stays. */
  'instance.delete': {
    params: z.object({ ref: InstanceRef, pool: PoolSpec.nullable(), id: z.string().optional() }),
    result: Empty,
  },
  /**
   * The source's half of a move: gives the volume to the stream `streamId` (`protocol/stream.ts`), where the member `to`
   * receives it. It stays here in any case. `stop` null: the instance is stopped already; else it is stopped when the other
   * side is there, by force after so many seconds. Fails only when the other side cannot have all of it.
   */
  'instance.send': {
    params: z.object({
      spec: InstanceSpec,
      streamId: z.string(),
      to: z.string(),
      stop: z.object({ timeoutSeconds: z.number().int() }).nullable(),
      /** It is copied, not moved: it may run. */
      copy: z.boolean().optional(),
      /** The key of the operation's metadata that progress is told in. */
      progress: z.enum(['fs_progress', 'evacuation_progress']),
    }),
    result: Empty,
  },
  /**
   * The target's half: all of the instance from the member `from`, stopped, or nothing of it. Its success is the move. The
   * rest is for the control plane: keys to merge into the config then (an empty value removes), whether it ran before and so
   * is to be started wherever it is then, and the member that is in service again when this fails.
   */
  'instance.receive': {
    params: z.object({
      spec: InstanceSpec,
      pool: PoolSpec,
      networks: z.array(NetworkSpec),
      streamId: z.string(),
      from: z.string(),
      volatile: Volatile,
      start: z.boolean(),
      evacuates: z.string().nullable(),
    }),
    result: InstanceOutcome,
  },
  /** Dials the stream named by the command's operation and runs the program when it says `start`. */
  'instance.exec': {
    params: z.object({
      ref: InstanceRef,
      streamId: z.string(),
      command: z.array(z.string()).min(1),
      environment: ConfigMap,
      interactive: z.boolean(),
      width: z.number().int(),
      height: z.number().int(),
      user: z.number().int(),
      group: z.number().int(),
      cwd: z.string(),
      /** False: nothing dials the stream; output is dropped. */
      attach: z.boolean(),
      /** Instead of the program, the instance's console, until the client leaves it or it stops. */
      console: z.literal(true).optional(),
    }),
    /** 0-255; 128+n for signal n; 127 and 126 come with `error` "Command not found" / "Command not executable". */
    result: z.object({ exitCode: z.number().int(), error: z.string().nullable() }),
  },
  /** Reads `metadata.yaml` out of an uploaded image, so that the control plane needs no decompressor. */
  'image.inspect': {
    params: z.object({ image: ImageSource }),
    result: z.object({
      architecture: z.string(),
      createdAt: z.string(),
      expiresAt: z.string().nullable(),
      properties: ConfigMap,
    }),
  },
  /** Drops the image's unpacked and downloaded copies on the member. */
  'image.delete': { params: z.object({ fingerprint: z.string() }), result: Empty },
  'pool.create': { params: z.object({ pool: PoolSpec }), result: z.object({ config: ConfigMap }) },
  /** `sizeBefore` is for the control plane itself, when the member refuses a new `size`; null: it had none. */
  'pool.update': { params: z.object({ pool: PoolSpec, sizeBefore: z.string().nullable().optional() }), result: Empty },
  'pool.delete': { params: z.object({ pool: PoolSpec }), result: Empty },
  /** Makes an empty custom volume with its limit. */
  'volume.create': { params: z.object({ pool: PoolSpec, volume: VolumeSpec }), result: Empty },
  /** `volume` as it is to be; `before` is what a failure goes back to. */
  'volume.update': { params: z.object({ pool: PoolSpec, volume: VolumeSpec, before: VolumeSpec }), result: Empty },
  'volume.rename': { params: z.object({ pool: PoolSpec, volume: VolumeRef, newName: z.string() }), result: Empty },
  /** Also right for a volume that is half there or not there at all; refused while an instance of the host has it. */
  'volume.delete': { params: z.object({ pool: PoolSpec, volume: VolumeRef }), result: Empty },
  /**
   * `preferredIpv4` is the subnet the control plane would give when `ipv4.address` is `auto`; the host takes another when
   * it is in use there. The result holds the keys the host decided (`ipv4.address`, `ipv6.address`).
   */
  'network.create': {
    params: z.object({
      network: NetworkSpec,
      preferredIpv4: z.string().nullable(),
      preferredIpv6: z.string().nullable(),
    }),
    result: z.object({ config: ConfigMap }),
  },
  'network.update': { params: z.object({ network: NetworkSpec }), result: z.object({ config: ConfigMap }) },
  'network.delete': { params: z.object({ name: z.string() }), result: Empty },
  /** The agent fetches `/agent/release/<sha256>`, restarts as it, and answers then; or goes on as it was and fails. */
  'agent.upgrade': { params: AgentRelease, result: z.object({ version: z.string(), sha256: z.string() }) },
} as const satisfies Record<string, { params: z.ZodType; result: z.ZodType }>;

export type CommandName = keyof typeof COMMANDS;
export type CommandParams<N extends CommandName> = z.infer<(typeof COMMANDS)[N]['params']>;
export type CommandResult<N extends CommandName> = z.infer<(typeof COMMANDS)[N]['result']>;

export const CommandNameSchema = z.enum(Object.keys(COMMANDS) as [CommandName, ...CommandName[]]);

/** One command, typed by its name. */
export type Command = { [N in CommandName]: { id: string; name: N; params: CommandParams<N> } }[CommandName];

/** Parses a command as it comes off the wire or out of libSQL; throws a ZodError. */
export function parseCommand(input: unknown): Command {
  const head = z.object({ id: z.string().min(1).max(64), name: CommandNameSchema, params: z.unknown() }).parse(input);
  const params = COMMANDS[head.name].params.parse(head.params);
  // The schema of this very name has just accepted the params.
  return { id: head.id, name: head.name, params } as Command;
}
