/** A journal without a file, for tests. Values are copied, as a file would. */
import { type Command, type NetworkSpec, type PoolSpec, parseCommand } from '#protocol/commands.ts';
import { type HostEvent, KEPT_HOST_EVENTS } from '#protocol/host-events.ts';
import {
  type EventLog,
  type FinishedCommand,
  type InstanceRecord,
  instanceKey,
  type Journal,
  KEPT_COMMANDS,
  type Outcome,
  type RecordStore,
} from './journal.ts';

interface Entry {
  command: Command;
  outcome: Outcome | null;
  acknowledged: boolean;
  marks: string[];
}

/** Same contract as the file; everything is gone with the process. */
export function createMemoryJournal(kept: number = KEPT_COMMANDS): Journal {
  const entries = new Map<string, Entry>();
  let boot: string | null = null;

  const finishedOf = (entry: Entry): FinishedCommand[] =>
    entry.outcome === null
      ? []
      : [{ id: entry.command.id, name: entry.command.name, outcome: structuredClone(entry.outcome) }];

  const prune = () => {
    const acknowledged = [...entries.values()].filter((entry) => entry.acknowledged);
    for (const entry of acknowledged.slice(0, Math.max(0, acknowledged.length - kept)))
      entries.delete(entry.command.id);
  };

  return {
    accept: (command) => {
      const known = entries.get(command.id);
      if (known === undefined) {
        const copy = parseCommand(structuredClone(command));
        entries.set(command.id, { command: copy, outcome: null, acknowledged: false, marks: [] });
        return { state: 'new' };
      }
      const [finished] = finishedOf(known);
      return finished === undefined ? { state: 'accepted' } : { state: 'finished', finished };
    },
    finish: (id, outcome) => {
      const entry = entries.get(id);
      if (entry !== undefined) entry.outcome ??= structuredClone(outcome);
    },
    acknowledge: (id) => {
      const entry = entries.get(id);
      if (entry?.outcome) entry.acknowledged = true;
      prune();
    },
    listUnfinished: () =>
      [...entries.values()]
        .filter((entry) => entry.outcome === null)
        .map((entry) => parseCommand(structuredClone(entry.command))),
    listUnacknowledged: () => [...entries.values()].filter((entry) => !entry.acknowledged).flatMap(finishedOf),
    listMarks: (id) => [...(entries.get(id)?.marks ?? [])],
    addMark: (id, mark) => {
      const entry = entries.get(id);
      if (entry !== undefined && !entry.marks.includes(mark)) entry.marks.push(mark);
    },
    instances: createStore((record: InstanceRecord) => instanceKey(record.spec), instanceKey),
    pools: createStore(
      (pool: PoolSpec) => pool.name,
      (name: string) => name,
    ),
    networks: createStore(
      (network: NetworkSpec) => network.name,
      (name: string) => name,
    ),
    events: createEvents(),
    lastBoot: () => boot,
    setLastBoot: (value) => {
      boot = value;
    },
    close: () => {},
  };
}

function createEvents(): EventLog {
  let kept: HostEvent[] = [];
  let last = 0;
  return {
    add: (event) => {
      last += 1;
      const added = { ...structuredClone(event), seq: last };
      kept = [...kept, added].slice(-KEPT_HOST_EVENTS);
      return added;
    },
    list: (afterSeq, limit) => structuredClone(kept.filter(({ seq }) => seq > afterSeq).slice(0, limit)),
    drop: (upTo) => {
      kept = kept.filter(({ seq }) => seq > upTo);
    },
  };
}

function createStore<K, V>(keyOfValue: (value: V) => string, keyOf: (key: K) => string): RecordStore<K, V> {
  const values = new Map<string, V>();
  return {
    find: (key) => structuredClone(values.get(keyOf(key))),
    put: (value) => void values.set(keyOfValue(value), structuredClone(value)),
    delete: (key) => void values.delete(keyOf(key)),
    list: () => [...values.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => structuredClone(value)),
  };
}
