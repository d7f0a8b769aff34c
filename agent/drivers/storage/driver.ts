/**
 * What a storage driver does for one pool on this host. Every verb is safe to repeat: absent → create; already as asked →
 * done; there but different → `conflict`. The contract suite in test/agent/drivers/storage runs against all of them.
 *
 * On-disk owners are the container's own (0-based) wherever `capabilities.idmap` is true: the instance driver then mounts
 * the root with its id map.
 */
import type { Readable } from 'node:stream';
import type { PoolSpec } from '#protocol/commands.ts';

export interface StorageCapabilities {
  /** The file system takes idmapped mounts, so containers can be unprivileged. */
  idmap: boolean;
  /** `setQuota` really limits. */
  quota: boolean;
}

export interface Usage {
  usedBytes: number;
  totalBytes: number;
}

export interface PoolUsage extends Usage {
  inodes: { used: number; total: number };
}

/** Fills an empty directory with an image's root file system. */
export type Unpack = (directory: string) => Promise<void>;

/** Takes a stream to its end; throws when nobody wants the rest. */
export type Carry = (content: Readable) => Promise<void>;

/** Instances' volumes on their way to another host with a pool of the same driver. */
export interface VolumeTransfer {
  /**
   * Gives the volume of a stopped instance, as it is now, to `carry`. Nothing of the sending is left afterwards, nor, once
   * the pool has been opened again, after a crash. Throws `not_found`.
   */
  send(name: string, carry: Carry): Promise<void>;
  /** Makes the volume out of such a stream, mounted, and answers its path; whole or not at all. Throws `conflict`. */
  receive(name: string, content: Readable): Promise<string>;
  /** Makes `newName` like the volume `name` of this pool is now, mounted, and answers its path; whole or not at all. */
  copy(name: string, newName: string): Promise<string>;
}

/** Volumes of their own, which instances mount as disks. Safe to repeat like every verb. */
export interface CustomVolumes {
  /** Makes an empty one. */
  create(name: string): Promise<void>;
  /** Mounts it and answers the directory of its content. Throws `not_found`. */
  mount(name: string): Promise<string>;
  /** Throws `failed` while something uses it where the driver has to mount it anew. */
  rename(name: string, newName: string): Promise<void>;
  /** Gone with all it holds. Absent is fine. Throws `failed` while it is in use. */
  delete(name: string): Promise<void>;
  list(): Promise<string[]>;
  /** Bytes it takes up; null where only a walk through it could tell. Throws `not_found`. */
  usage(name: string): Promise<number | null>;
  /** Null removes the limit. Throws `bad_request` when the driver cannot limit. */
  setQuota(name: string, sizeBytes: number | null): Promise<void>;
}

export interface StorageDriver {
  readonly pool: PoolSpec;
  readonly custom: CustomVolumes;
  readonly transfer: VolumeTransfer;
  /**
   * Makes or adopts the pool and mounts it. Returns the member's effective keys (`source`, `size`, `zfs.pool_name`,
   * `volatile.initial_source`). Refuses a source that holds something else.
   */
  createPool(): Promise<Record<string, string>>;
  /** Mounts an existing pool, after a boot. */
  openPool(): Promise<void>;
  /**
   * Makes the file below the pool larger, and the pool with it (on zfs-fuse from its next import). Repeating it is fine.
   * Throws `bad_request` for a smaller size, and for a pool that is not on a file of its own.
   */
  growPool(sizeBytes: number): Promise<void>;
  /** Removes what `createPool` made (not an adopted source's other content). */
  deletePool(): Promise<void>;
  capabilities(): Promise<StorageCapabilities>;
  poolUsage(): Promise<PoolUsage>;

  /** Makes the image's read-only volume once, also under parallel calls; a half-made one of an earlier crash is redone. */
  ensureImage(fingerprint: string, unpack: Unpack): Promise<void>;
  hasImage(fingerprint: string): Promise<boolean>;
  /** An image that still has clones stays hidden until the last one is gone. */
  deleteImage(fingerprint: string): Promise<void>;

  /** Clones the image's volume (or makes an empty one), mounted; returns its mount path: `<path>/rootfs` is the root. */
  createInstanceVolume(name: string, imageFingerprint: string | null): Promise<string>;
  /** Mounts it and returns the mount path. Throws `not_found`. */
  mountInstanceVolume(name: string): Promise<string>;
  unmountInstanceVolume(name: string): Promise<void>;
  renameInstanceVolume(name: string, newName: string): Promise<void>;
  /** Gone with its mount point. Absent is fine. */
  deleteInstanceVolume(name: string): Promise<void>;
  listInstanceVolumes(): Promise<string[]>;
  instanceVolumeUsage(name: string): Promise<number>;
  /** Null removes the limit. Throws `bad_request` when the driver cannot limit. */
  setQuota(name: string, sizeBytes: number | null): Promise<void>;
}
