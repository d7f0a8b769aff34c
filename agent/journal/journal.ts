/**
 * The agent's journal: which commands came, which ran, what they answered; and what this host is supposed to have, so that
 * it can start its instances without the control plane.
 *
 * Invariants. A command is `accepted` before anything is done for it, and its outcome is written before it is sent. What was
 * written survives a killed agent. States go accepted → finished → acknowledged and never back.
 */
import type { Command, CommandName, InstanceRef, InstanceSpec, NetworkSpec, PoolSpec } from '#protocol/commands.ts';
import type { WireError } from '#protocol/errors.ts';
import type { HostEvent } from '#protocol/host-events.ts';

export type Outcome = { ok: true; result: unknown } | { ok: false; error: WireError };

export interface FinishedCommand {
  id: string;
  name: CommandName;
  outcome: Outcome;
}

/** What is known of a command id. */
export type Acceptance = { state: 'new' } | { state: 'accepted' } | { state: 'finished'; finished: FinishedCommand };

/** An instance that belongs on this host, with what is needed to start it. */
export interface InstanceRecord {
  spec: InstanceSpec;
  pool: string;
  /** What it should be after a boot: LXD's `volatile.last_state.power`. */
  power: 'RUNNING' | 'STOPPED';
}

/** One text for one instance. */
export const instanceKey = (ref: InstanceRef) => `${ref.project}/${ref.name}`;

/** Records by key; `put` replaces, `delete` of an absent one is fine, `list` is in key order. */
export interface RecordStore<K, V> {
  find(key: K): V | undefined;
  put(value: V): void;
  delete(key: K): void;
  list(): V[];
}

/** What happened while there was no link; the oldest go when there are more than `KEPT_HOST_EVENTS`. */
export interface EventLog {
  /** Gives it the next number. */
  add(event: Omit<HostEvent, 'seq'>): HostEvent;
  /** After `seq`, oldest first, at most `limit`. */
  list(afterSeq: number, limit: number): HostEvent[];
  /** Forgets those up to `seq`. */
  drop(seq: number): void;
}

/** Acknowledged ones kept so that a late duplicate is answered and not run again. */
export const KEPT_COMMANDS = 10_000;

export interface Journal {
  /** Writes a new command down; says what was known of its id before. */
  accept(command: Command): Acceptance;
  finish(id: string, outcome: Outcome): void;
  /** The control plane has applied the result. Unknown ids are ignored. */
  acknowledge(id: string): void;
  /** Accepted and not finished, in the order they came. */
  listUnfinished(): Command[];
  /** Finished and not acknowledged, in the order they came. */
  listUnacknowledged(): FinishedCommand[];
  /** Points that a running command has passed; for steps whose effect cannot be seen on the host. */
  listMarks(id: string): string[];
  addMark(id: string, mark: string): void;

  readonly instances: RecordStore<InstanceRef, InstanceRecord>;
  readonly pools: RecordStore<string, PoolSpec>;
  readonly networks: RecordStore<string, NetworkSpec>;
  readonly events: EventLog;

  /** Which boot of the host was served last; null on a new host. */
  lastBoot(): string | null;
  setLastBoot(boot: string): void;
  close(): void;
}
