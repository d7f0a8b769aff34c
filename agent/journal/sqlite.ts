/**
 * The journal in a SQLite file. WAL with `synchronous = NORMAL`: a commit survives `kill -9` of the agent; a power cut may
 * take the last ones, which the control plane then sends again.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { z } from 'zod';
import { CommandNameSchema, NetworkSpec, PoolSpec, parseCommand } from '#protocol/commands.ts';
import { HostEvent, KEPT_HOST_EVENTS } from '#protocol/host-events.ts';
import {
  type EventLog,
  type FinishedCommand,
  instanceKey,
  type Journal,
  KEPT_COMMANDS,
  type RecordStore,
} from './journal.ts';
import { InstanceRecordSchema, OutcomeSchema } from './records.ts';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS commands (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  params TEXT NOT NULL,
  state TEXT NOT NULL,
  outcome TEXT,
  marks TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS commands_state ON commands (state, seq);
CREATE TABLE IF NOT EXISTS instance_specs (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pools (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS networks (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
`;

const CommandRow = z.object({
  id: z.string(),
  name: CommandNameSchema,
  params: z.string(),
  state: z.enum(['accepted', 'finished', 'acknowledged']),
  outcome: z.string().nullable(),
  marks: z.string(),
});
const EventRow = z.object({ seq: z.number().int(), value: z.string() });
const ValueRow = z.object({ value: z.string() });
const Marks = z.array(z.string());

/** How many acknowledgements pass between two clean-ups. */
const PRUNE_EVERY = 200;

/** Opens or makes the file. Throws when another schema or a damaged file is there. */
export function openSqliteJournal(path: string, kept: number = KEPT_COMMANDS): Journal {
  mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
  const db = new Database(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;');
  db.exec(SCHEMA);

  const insert = db.prepare(
    "INSERT INTO commands (id, name, params, state) VALUES (?, ?, ?, 'accepted') ON CONFLICT (id) DO NOTHING",
  );
  const select = db.prepare('SELECT * FROM commands WHERE id = ?');
  const selectState = db.prepare('SELECT * FROM commands WHERE state = ? ORDER BY seq');
  const setFinished = db.prepare(
    "UPDATE commands SET state = 'finished', outcome = ? WHERE id = ? AND state = 'accepted'",
  );
  // The params of an applied command are of no use any more, its answer is.
  const setAcknowledged = db.prepare(
    "UPDATE commands SET state = 'acknowledged', params = '{}' WHERE id = ? AND state = 'finished'",
  );
  const setMarks = db.prepare('UPDATE commands SET marks = ? WHERE id = ?');
  const prune = db.prepare(
    "DELETE FROM commands WHERE state = 'acknowledged' AND seq NOT IN (SELECT seq FROM commands WHERE state = 'acknowledged' ORDER BY seq DESC LIMIT ?)",
  );
  const getMeta = db.prepare('SELECT value FROM meta WHERE key = ?');
  const setMeta = db.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)');

  const find = (id: string) => {
    const row = select.get(id);
    return row === undefined ? undefined : CommandRow.parse(row);
  };
  const list = (state: string) => selectState.all(state).map((row) => CommandRow.parse(row));
  const marksOf = (id: string) => Marks.parse(JSON.parse(find(id)?.marks ?? '[]'));
  let acknowledgements = 0;

  return {
    accept: (command) => {
      const { changes } = insert.run(command.id, command.name, JSON.stringify(command.params));
      if (changes > 0) return { state: 'new' };
      const row = find(command.id);
      if (row === undefined || row.state === 'accepted') return { state: 'accepted' };
      return { state: 'finished', finished: toFinished(row) };
    },
    finish: (id, outcome) => void setFinished.run(JSON.stringify(outcome), id),
    acknowledge: (id) => {
      setAcknowledged.run(id);
      acknowledgements += 1;
      if (acknowledgements % PRUNE_EVERY === 0 || kept < PRUNE_EVERY) prune.run(kept);
    },
    listUnfinished: () =>
      list('accepted').map((row) => parseCommand({ id: row.id, name: row.name, params: JSON.parse(row.params) })),
    listUnacknowledged: () => list('finished').map(toFinished),
    listMarks: marksOf,
    addMark: (id, mark) => void setMarks.run(JSON.stringify([...new Set([...marksOf(id), mark])]), id),
    instances: openStore(db, 'instance_specs', InstanceRecordSchema, (record) => instanceKey(record.spec), instanceKey),
    pools: openStore(
      db,
      'pools',
      PoolSpec,
      (pool) => pool.name,
      (name: string) => name,
    ),
    networks: openStore(
      db,
      'networks',
      NetworkSpec,
      (network) => network.name,
      (name: string) => name,
    ),
    events: openEvents(db),
    lastBoot: () => {
      const row = getMeta.get('boot');
      return row === undefined ? null : ValueRow.parse(row).value;
    },
    setLastBoot: (boot) => void setMeta.run('boot', boot),
    close: () => void db.close(),
  };
}

function toFinished(row: z.infer<typeof CommandRow>): FinishedCommand {
  return { id: row.id, name: row.name, outcome: OutcomeSchema.parse(JSON.parse(row.outcome ?? 'null')) };
}

function openEvents(db: Database.Database): EventLog {
  const insert = db.prepare('INSERT INTO events (value) VALUES (?)');
  const select = db.prepare('SELECT seq, value FROM events WHERE seq > ? ORDER BY seq LIMIT ?');
  const remove = db.prepare('DELETE FROM events WHERE seq <= ?');
  return {
    add: (event) => {
      const seq = Number(insert.run(JSON.stringify(event)).lastInsertRowid);
      remove.run(seq - KEPT_HOST_EVENTS);
      return { ...event, seq };
    },
    list: (afterSeq, limit) =>
      select.all(afterSeq, limit).map((row) => {
        const { seq, value } = EventRow.parse(row);
        return HostEvent.parse({ ...z.record(z.string(), z.unknown()).parse(JSON.parse(value)), seq });
      }),
    drop: (seq) => void remove.run(seq),
  };
}

function openStore<K, V>(
  db: Database.Database,
  table: 'instance_specs' | 'pools' | 'networks',
  schema: z.ZodType<V>,
  keyOfValue: (value: V) => string,
  keyOf: (key: K) => string,
): RecordStore<K, V> {
  const get = db.prepare(`SELECT value FROM ${table} WHERE key = ?`);
  const all = db.prepare(`SELECT value FROM ${table} ORDER BY key`);
  const set = db.prepare(`INSERT OR REPLACE INTO ${table} (key, value) VALUES (?, ?)`);
  const remove = db.prepare(`DELETE FROM ${table} WHERE key = ?`);
  const read = (row: unknown) => schema.parse(JSON.parse(ValueRow.parse(row).value));
  return {
    find: (key) => {
      const row = get.get(keyOf(key));
      return row === undefined ? undefined : read(row);
    },
    put: (value) => void set.run(keyOfValue(value), JSON.stringify(value)),
    delete: (key) => void remove.run(keyOf(key)),
    list: () => all.all().map(read),
  };
}
