import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Journal } from '#agent/journal/journal.ts';
import { createMemoryJournal } from '#agent/journal/memory.ts';
import { openSqliteJournal } from '#agent/journal/sqlite.ts';
import type { Command } from '#protocol/commands.ts';
import { instanceSpec } from '../fakes/specs.ts';

const directory = mkdtempSync(join(tmpdir(), 'longshore-journal-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
const kinds: [string, (kept?: number) => Journal][] = [
  ['memory', (kept) => createMemoryJournal(kept)],
  ['sqlite', (kept) => openSqliteJournal(join(directory, `${++files}`, 'agent.db'), kept)],
];

const remove = (id: string): Command => ({ id, name: 'image.delete', params: { fingerprint: id } });

describe.each(kinds)('the %s journal', (_name, open) => {
  it('knows an accepted command and keeps its params until it has finished', () => {
    const journal = open();
    expect(journal.accept(remove('a'))).toEqual({ state: 'new' });
    expect(journal.accept(remove('a'))).toEqual({ state: 'accepted' });
    expect(journal.listUnfinished()).toEqual([remove('a')]);
  });

  it('answers a finished command with its first outcome, also after the acknowledgement', () => {
    const journal = open();
    journal.accept(remove('a'));
    journal.finish('a', { ok: true, result: { first: 1 } });
    journal.finish('a', { ok: true, result: { second: 2 } });
    const finished = { id: 'a', name: 'image.delete', outcome: { ok: true, result: { first: 1 } } };
    expect(journal.accept(remove('a'))).toEqual({ state: 'finished', finished });
    expect(journal.listUnacknowledged()).toEqual([finished]);
    journal.acknowledge('a');
    expect(journal.listUnacknowledged()).toEqual([]);
    expect(journal.accept(remove('a'))).toEqual({ state: 'finished', finished });
    expect(journal.listUnfinished()).toEqual([]);
  });

  it('lists unfinished commands in the order they came', () => {
    const journal = open();
    for (const id of ['c', 'a', 'b']) journal.accept(remove(id));
    journal.finish('a', { ok: false, error: { code: 'failed', message: 'no' } });
    expect(journal.listUnfinished().map((command) => command.id)).toEqual(['c', 'b']);
  });

  it('ignores acknowledgements of commands that are unknown or still running', () => {
    const journal = open();
    journal.accept(remove('a'));
    journal.acknowledge('a');
    journal.acknowledge('never seen');
    expect(journal.listUnfinished()).toHaveLength(1);
  });

  it('forgets only the oldest acknowledged commands', () => {
    const journal = open(2);
    for (const id of ['a', 'b', 'c', 'd']) {
      journal.accept(remove(id));
      journal.finish(id, { ok: true, result: {} });
      if (id !== 'd') journal.acknowledge(id);
    }
    expect(journal.accept(remove('b')).state).toBe('finished');
    expect(journal.accept(remove('d')).state).toBe('finished');
    expect(journal.accept(remove('a')).state).toBe('new');
  });

  it('keeps marks once each', () => {
    const journal = open();
    journal.accept(remove('a'));
    journal.addMark('a', 'stopped');
    journal.addMark('a', 'stopped');
    expect(journal.listMarks('a')).toEqual(['stopped']);
    expect(journal.listMarks('b')).toEqual([]);
  });

  it('keeps what the host is supposed to have, by project and name', () => {
    const journal = open();
    const spec = instanceSpec({ name: 'c1' });
    journal.instances.put({ spec, pool: 'local', power: 'RUNNING' });
    journal.instances.put({ spec: { ...spec, project: 'other' }, pool: 'local', power: 'STOPPED' });
    journal.instances.put({ spec, pool: 'local', power: 'STOPPED' });
    expect(journal.instances.list()).toHaveLength(2);
    expect(journal.instances.find(spec)?.power).toBe('STOPPED');
    journal.instances.delete(spec);
    expect(journal.instances.find(spec)).toBeUndefined();
    journal.pools.put({ name: 'local', driver: 'dir', config: {} });
    journal.networks.put({ name: 'lxdbr0', type: 'bridge', config: {}, description: '' });
    expect(journal.pools.find('local')?.driver).toBe('dir');
    expect(journal.networks.list()).toHaveLength(1);
  });

  it('remembers the last boot', () => {
    const journal = open();
    expect(journal.lastBoot()).toBeNull();
    journal.setLastBoot('one');
    journal.setLastBoot('two');
    expect(journal.lastBoot()).toBe('two');
  });
});

it('finds everything again in the file after a restart', () => {
  const path = join(directory, 'again.db');
  const first = openSqliteJournal(path);
  first.accept(remove('a'));
  first.accept(remove('b'));
  first.finish('b', { ok: true, result: {} });
  first.addMark('a', 'half');
  // Not closed: a killed agent closes nothing.
  const second = openSqliteJournal(path);
  expect(second.listUnfinished().map((command) => command.id)).toEqual(['a']);
  expect(second.listUnacknowledged().map((command) => command.id)).toEqual(['b']);
  expect(second.listMarks('a')).toEqual(['half']);
});
