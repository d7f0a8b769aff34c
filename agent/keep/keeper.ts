/**
 * Keeps the host's copy of the database fresh: after each welcome, after each command whose result has been applied, and
 * when the control plane says that definitions have changed. Changes that come together are fetched together.
 */
import type { HostBackup } from '#protocol/backup.ts';
import type { Command } from '#protocol/commands.ts';
import { AppError } from '#protocol/errors.ts';
import { instanceKey } from '../journal/journal.ts';
import type { Log } from '../log.ts';
import type { KeptFiles } from './files.ts';

/** A burst of launches is one or two fetches; until then the journal knows as much of an instance. */
const GATHER_MS = 2_000;
/** Hosts that are told of the same change at once do not ask at once. */
const SPREAD_MS = 3_000;
const RETRY_MS = 15_000;

export interface KeeperDeps {
  /** Throws when the control plane does not answer. */
  fetch(): Promise<HostBackup>;
  files: KeptFiles;
  log: Pick<Log, 'info' | 'warn'>;
}

export interface Keeper {
  /** The copy may be old. `spread`: others are told the same. */
  note(spread?: boolean): void;
  /** Its result, once applied, changes what the copy is of. */
  noteFinished(command: Command): void;
  noteApplied(id: string): void;
  /** True when a command on the instance has ended since the copy was made. */
  isOutdated(key: string): boolean;
  stop(): void;
}

export function createKeeper({ fetch, files, log }: KeeperDeps): Keeper {
  /** Commands that have ended, by id, with the instance they were about. */
  const ended = new Map<string, string | null>();
  /** Instances whose copy does not have their last command yet. */
  let outdated = new Set<string>();
  let timer: NodeJS.Timeout | null = null;
  let isBusy = false;
  let isAsked = false;

  const later = (ms: number) => {
    timer ??= setTimeout(() => {
      timer = null;
      void run();
    }, ms).unref();
  };
  const run = async () => {
    if (isBusy) return;
    isBusy = true;
    isAsked = false;
    const before = outdated;
    outdated = new Set();
    let retryMs = GATHER_MS;
    try {
      files.write(await fetch());
    } catch (err) {
      for (const key of before) outdated.add(key);
      log.info('keep.waiting', { err });
      // Without a link the next welcome asks again.
      isAsked ||= !(err instanceof AppError && err.code === 'unavailable');
      retryMs = RETRY_MS;
    } finally {
      isBusy = false;
    }
    if (isAsked) later(retryMs);
  };
  const note = (spread = false) => {
    isAsked = true;
    if (!isBusy) later(GATHER_MS + (spread ? Math.random() * SPREAD_MS : 0));
  };

  return {
    note,
    noteFinished: (command) => {
      if (command.name === 'instance.exec' || command.name === 'image.inspect') return;
      const key = 'spec' in command.params ? instanceKey(command.params.spec) : null;
      ended.set(command.id, key);
      if (key !== null) outdated.add(key);
    },
    noteApplied: (id) => {
      if (ended.delete(id)) note();
    },
    isOutdated: (key) => outdated.has(key) || [...ended.values()].includes(key),
    stop: () => {
      if (timer !== null) clearTimeout(timer);
    },
  };
}
