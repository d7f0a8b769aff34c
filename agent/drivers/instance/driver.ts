/** What an instance driver does: one container runtime. Verbs are safe to repeat. */
import type { InstanceRef, InstanceSpec } from '#protocol/commands.ts';
import type { InstanceReport, InstanceState, InstanceStatus } from '#protocol/inventory.ts';
import type { InstanceMetrics } from '#protocol/metrics.ts';
import type { NicAttachment } from '../network/driver.ts';

/** A NIC of the instance: its device, the interface names, and what its network gave. */
export interface InstanceNic {
  device: string;
  /** Name inside: `eth0`. */
  name: string;
  hwaddr: string;
  /** Name of the host side, at most 15 characters, derived from instance and device. */
  hostName: string;
  attachment: NicAttachment;
}

export interface InstanceSetup {
  spec: InstanceSpec;
  /** Mount path of the root volume; the root file system is `<volumePath>/rootfs`. */
  volumePath: string;
  /** The volume's file system takes idmapped mounts. */
  idmap: boolean;
  nics: InstanceNic[];
}

export interface ExecRequest {
  command: string[];
  environment: Record<string, string>;
  user: number;
  group: number;
  cwd: string;
  /** Terminal size, or null for pipes. */
  terminal: { width: number; height: number } | null;
}

/** A program inside an instance. With a terminal, `stdout` carries all output and `stderr` nothing. */
export interface ExecProcess {
  /** Returns false when the caller should wait for `drained` before writing more. */
  write(bytes: Uint8Array): boolean;
  drained(): Promise<void>;
  endInput(): void;
  resize(width: number, height: number): void;
  /** Signal number, to the program itself. */
  signal(signal: number): void;
  onOutput(listener: (channel: 'stdout' | 'stderr', bytes: Uint8Array) => void): void;
  pauseOutput(): void;
  resumeOutput(): void;
  /** After the last output. 0-255, 128+n for signal n. */
  exited: Promise<number>;
}

/** A file system tree that no symlink inside can leave. Close it. */
export interface InstanceRoot {
  /** Directory fd of the root: `<volume>/rootfs` when stopped, `/proc/<pid>/root` when running. */
  fd: number;
  /** Turns an owner inside the container into the owner to write, and back. */
  toHostUid(id: number): number;
  toHostGid(id: number): number;
  fromHostUid(id: number): number;
  fromHostGid(id: number): number;
  close(): void;
}

/** A change seen on the host, asked for or not. `target` tells a reboot from a stop. */
export interface InstanceTransition {
  ref: InstanceRef;
  kind: 'started' | 'stopped' | 'rebooted';
}

export interface InstanceDriver {
  /** Writes the instance's config on the host; takes effect at the next start. */
  configure(setup: InstanceSetup): Promise<void>;
  /**
   * `configure`, and on a running instance its NICs and disks become those of `setup` at once. Throws `failed` for one that
   * cannot be attached; going back to the set-up before is the caller's.
   */
  reconfigure(setup: InstanceSetup): Promise<void>;
  /** Throws `bad_request` for a device that this host cannot attach now. */
  checkDevices(spec: InstanceSpec): void;
  start(ref: InstanceRef): Promise<void>;
  /** Asks the init to stop; kills when `force` or when `timeoutMs` (null: none) has gone by with `force`. Throws `failed` when it did not stop in time. */
  stop(ref: InstanceRef, options: { force: boolean; timeoutMs: number | null; signal?: AbortSignal }): Promise<void>;
  freeze(ref: InstanceRef): Promise<void>;
  unfreeze(ref: InstanceRef): Promise<void>;
  /** Removes config, logs and cgroups of a stopped instance. Absent is fine. */
  remove(ref: InstanceRef): Promise<void>;
  rename(ref: InstanceRef, newName: string): Promise<void>;
  /** Writes limits of `config` into the running instance's cgroup. Throws with the kernel's reason and keeps the old value. */
  applyLimits(ref: InstanceRef, config: Record<string, string>): Promise<void>;
  status(ref: InstanceRef): Promise<InstanceStatus>;
  state(ref: InstanceRef): Promise<InstanceState | null>;
  /** Every instance configured on this host. */
  list(): Promise<InstanceRef[]>;
  report(ref: InstanceRef): Promise<InstanceReport>;
  /** Of every instance that runs, in one sweep that starts no program. */
  metrics(): Promise<InstanceMetrics[]>;
  exec(ref: InstanceRef, request: ExecRequest): Promise<ExecProcess>;
  /** Joins the console of a running instance; it ends when the instance stops. Signals end it, the instance goes on. */
  console(ref: InstanceRef, size: { width: number; height: number }): Promise<ExecProcess>;
  /** Works on running and stopped instances; `volumePath` for the stopped ones. */
  openRoot(ref: InstanceRef, volumePath: string): Promise<InstanceRoot>;
  /** The tail of the runtime's log. */
  readLog(ref: InstanceRef, file: string): Promise<string>;
  /** Calls back on every start and stop on the host; returns the way to end it. */
  watch(listener: (transition: InstanceTransition) => void): () => void;
}
