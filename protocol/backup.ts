/**
 * What a host keeps of the control plane's database, so that the cluster can be put together again from its hosts when all
 * of that is lost: its own instances and volumes, and what they are built on. Fetched anew after every change
 * (`GET /agent/backup`), given back by `PUT /agent/recovery` when an operator recovers the cluster.
 */
import { z } from 'zod';
import { DeviceMap, NetworkSpec, PoolSpec } from './commands.ts';
import { InstanceState, InstanceStatus } from './inventory.ts';

const ConfigMap = z.record(z.string(), z.string());

/** An instance as its users set it. */
export const InstanceBackup = z.object({
  id: z.string(),
  project: z.string(),
  name: z.string(),
  type: z.enum(['container']),
  architecture: z.string(),
  description: z.string(),
  ephemeral: z.boolean(),
  stateful: z.boolean(),
  profiles: z.array(z.string()),
  config: ConfigMap,
  devices: DeviceMap,
  /** Pool of the root disk. */
  pool: z.string(),
  createdAt: z.string(),
  lastUsedAt: z.string().nullable(),
});
export type InstanceBackup = z.infer<typeof InstanceBackup>;

export const VolumeBackup = z.object({
  pool: z.string(),
  project: z.string(),
  name: z.string(),
  description: z.string(),
  config: ConfigMap,
  createdAt: z.string(),
});
export type VolumeBackup = z.infer<typeof VolumeBackup>;

const ResourceStatus = z.enum(['Pending', 'Created', 'Errored']);

/** The cluster's keys of a pool or network, and this member's own. */
const Shared = z.object({
  name: z.string(),
  description: z.string(),
  config: ConfigMap,
  /** Null: this member has none of it yet. */
  own: z.object({ config: ConfigMap, status: ResourceStatus, message: z.string() }).nullable(),
});

/** What several hosts keep alike: the newest copy counts. */
export const ClusterBackup = z.object({
  config: ConfigMap,
  member: z.object({
    description: z.string(),
    failureDomain: z.string(),
    roles: z.array(z.string()),
    groups: z.array(z.string()),
    config: ConfigMap,
    state: z.enum(['Created', 'Evacuated']),
    createdAt: z.string(),
  }),
  groups: z.array(z.object({ name: z.string(), description: z.string() })),
  projects: z.array(z.object({ name: z.string(), description: z.string(), config: ConfigMap })),
  profiles: z.array(
    z.object({
      project: z.string(),
      name: z.string(),
      description: z.string(),
      config: ConfigMap,
      devices: DeviceMap,
    }),
  ),
  pools: z.array(Shared.extend({ driver: z.enum(['zfs', 'btrfs', 'dir']) })),
  networks: z.array(Shared.extend({ type: z.enum(['bridge']) })),
  /** Of this member. */
  volumes: z.array(VolumeBackup),
  images: z.array(
    z.object({
      project: z.string(),
      fingerprint: z.string(),
      type: z.enum(['container', 'virtual-machine']),
      architecture: z.string(),
      filename: z.string(),
      sizeBytes: z.number(),
      public: z.boolean(),
      cached: z.boolean(),
      autoUpdate: z.boolean(),
      properties: ConfigMap,
      profiles: z.array(z.string()),
      parts: z.array(
        z.object({
          name: z.enum(['unified', 'metadata', 'rootfs']),
          key: z.string(),
          sizeBytes: z.number(),
          filename: z.string(),
        }),
      ),
      createdAt: z.string(),
      uploadedAt: z.string(),
      lastUsedAt: z.string().nullable(),
      expiresAt: z.string().nullable(),
    }),
  ),
  aliases: z.array(
    z.object({ project: z.string(), name: z.string(), description: z.string(), fingerprint: z.string() }),
  ),
});
export type ClusterBackup = z.infer<typeof ClusterBackup>;

/** `GET /agent/backup`. `takenAt` is the control plane's clock: it orders the copies of several hosts. */
export const HostBackup = z.object({
  takenAt: z.string(),
  cluster: ClusterBackup,
  instances: z.array(InstanceBackup),
});
export type HostBackup = z.infer<typeof HostBackup>;

/** An instance on a host, by its copy and by what the host was last told. */
export const FoundInstance = z.object({
  instance: InstanceBackup,
  /** When its copy was taken; empty: there is none, and this is what the host was told. */
  takenAt: z.string(),
  /** Profiles and own keys merged, for when a profile is nowhere any more. */
  expandedConfig: ConfigMap,
  expandedDevices: DeviceMap,
  status: InstanceStatus,
  state: InstanceState.nullable(),
});
export type FoundInstance = z.infer<typeof FoundInstance>;

/** `PUT /agent/recovery`: all that a host has. */
export const HostInventory = z.object({
  /** Of `cluster`; empty without one. */
  takenAt: z.string(),
  cluster: ClusterBackup.nullable(),
  instances: z.array(FoundInstance),
  /** As the host was told of them, for what `cluster` does not have. */
  pools: z.array(PoolSpec),
  networks: z.array(NetworkSpec),
});
export type HostInventory = z.infer<typeof HostInventory>;

/** More than hundreds of instances need. */
export const INVENTORY_LIMIT_BYTES = 16 * 1024 * 1024;

/** A host that asks to be a member again. */
export const RecoveredHost = z.object({
  name: z.string(),
  /** First half of the SHA-256 of its public key, as its agent logs it at its start (`agent.started`). */
  key: z.string(),
  addresses: z.array(z.string()),
  os: z.string(),
  /** `found`: waits to be admitted. `admitted`: is a member. `recovered`: what it has is in the database. */
  state: z.enum(['found', 'admitted', 'recovered']),
});
export type RecoveredHost = z.infer<typeof RecoveredHost>;

/** What the operator's command talks to, `/agent/recovery`. */
export const RecoveryStatus = z.object({ hosts: z.array(RecoveredHost), members: z.array(z.string()) });
export type RecoveryStatus = z.infer<typeof RecoveryStatus>;

export const RecoveryStep = z.discriminatedUnion('action', [
  /** Lets hosts ask, for so long. */
  z.object({ action: z.literal('open'), minutes: z.number().int().min(1).max(1440) }),
  z.object({ action: z.literal('admit'), hosts: z.array(RecoveredHost.pick({ name: true, key: true })) }),
  /** Takes what the admitted hosts have: of all of them, or with `partial` of those that are there. */
  z.object({ action: z.literal('take'), partial: z.boolean() }),
  z.object({ action: z.literal('close') }),
]);
export type RecoveryStep = z.infer<typeof RecoveryStep>;

export const RecoveryAnswer = z.object({
  /** What is in the database now that was not before, by kind. */
  taken: z.record(z.string(), z.number()),
  /** For people: what stands where it was, and why. */
  notes: z.array(z.string()),
  /** Admitted, and not heard yet. */
  awaited: z.array(z.string()),
});
export type RecoveryAnswer = z.infer<typeof RecoveryAnswer>;
