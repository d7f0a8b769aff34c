/** What executors work on: the drivers, the records and the streams of this host. */

import type { ImageStore } from '../drivers/image/driver.ts';
import type { InstanceDriver } from '../drivers/instance/driver.ts';
import type { NetworkDriver } from '../drivers/network/driver.ts';
import type { Journal } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import type { InstallDeps } from '../release/install.ts';
import type { ContentStream } from '../streams/content.ts';
import type { RelayStream } from '../streams/relay.ts';
import type { AgentStream } from '../streams/stream.ts';
import type { Pools } from './pools.ts';
import type { Slots } from './slots.ts';

export interface Host {
  log: Log;
  journal: Journal;
  pools: Pools;
  instances: InstanceDriver;
  networks: NetworkDriver;
  images: ImageStore;
  /** Dials `/agent/stream/<id>`; throws `unavailable` while the link is down. */
  openStream(id: string): Promise<AgentStream>;
  /** The content of a file transfer; its requests throw `unavailable` while the link is down. */
  openContent(streamId: string): ContentStream;
  /** The stream of a moving instance; its requests throw `unavailable` while the link is down. */
  openRelay(streamId: string): RelayStream;
  /** How many instances leave this host at once: more only share its disks and its line. */
  departures: Slots;
  release: HostRelease;
  /** Gives the control plane all that this host has; throws when it does not take it. */
  tellInventory(): Promise<void>;
}

/** How this agent becomes another release. */
export interface HostRelease extends InstallDeps {
  /** Ends this process in order; what starts the agent starts it again. */
  restart(): void;
}

/** One run of one command. */
export interface CommandContext {
  id: string;
  /** An earlier agent process had begun this command: what it asks for may be there already. */
  resumed: boolean;
  /** Aborted when the operation is cancelled. */
  signal: AbortSignal;
  /** Lines for the operation's metadata. */
  progress(metadata: Record<string, string>): void;
  /** Points passed, kept over a crash; for effects that cannot be seen on the host. */
  marks: { has(mark: string): boolean; add(mark: string): void };
  /** Runs `work` without holding one of the host's command slots: for waiting on others. */
  unslotted<T>(work: () => Promise<T>): Promise<T>;
}
