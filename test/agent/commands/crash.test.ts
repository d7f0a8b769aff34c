/** Killed at every point of every command: run again on the same host, the end is the same as without the kill. */
import { afterEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import { createMemoryJournal } from '#agent/journal/memory.ts';
import type { Command } from '#protocol/commands.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

const states: FakeHostState[] = [];
const newState = () => {
  const state = createFakeState();
  states.push(state);
  return state;
};
afterEach(() => {
  for (const state of states.splice(0)) state.cleanup();
});

/** Thrown where the process would have died; nothing may catch it and go on as if the step had failed by itself. */
class Killed extends Error {}

const spec = instanceSpec();
const create: Command = {
  id: 'create',
  name: 'instance.create',
  params: { spec, image: imageSource(), pool: poolSpec(), networks: [networkSpec()], start: true },
};
const change = (action: 'start' | 'stop' | 'restart'): Command => ({
  id: action,
  name: 'instance.state',
  params: { spec, action, timeoutSeconds: 1, force: false },
});
const stopped: Command = { ...create, params: { ...create.params, start: false } } as Command;

const volume = { project: 'default', name: 'web', description: '', config: { size: '20MiB' } };
const larger = { ...volume, config: { size: '40MiB' } };
const makeVolume: Command = { id: 'volume', name: 'volume.create', params: { pool: poolSpec(), volume } };

interface Case {
  name: string;
  before: Command[];
  command: Command;
  status: string | undefined;
  starts: number;
}

const cases: Case[] = [
  { name: 'create', before: [], command: create, status: 'Running', starts: 1 },
  { name: 'start', before: [stopped], command: change('start'), status: 'Running', starts: 1 },
  { name: 'stop', before: [create], command: change('stop'), status: 'Stopped', starts: 1 },
  { name: 'restart', before: [create], command: change('restart'), status: 'Running', starts: 2 },
  {
    name: 'rename',
    before: [stopped],
    command: { id: 'rename', name: 'instance.rename', params: { spec, newName: 'c2' } },
    status: undefined,
    starts: 0,
  },
  {
    name: 'delete',
    before: [create],
    command: { id: 'delete', name: 'instance.delete', params: { ref: spec, pool: poolSpec() } },
    status: undefined,
    starts: 1,
  },
  { name: 'volume create', before: [], command: makeVolume, status: undefined, starts: 0 },
  {
    name: 'volume update',
    before: [makeVolume],
    command: {
      id: 'size',
      name: 'volume.update',
      params: { pool: poolSpec(), volume: larger, before: volume },
    },
    status: undefined,
    starts: 0,
  },
  {
    name: 'volume rename',
    before: [makeVolume],
    command: { id: 'rename', name: 'volume.rename', params: { pool: poolSpec(), volume, newName: 'web2' } },
    status: undefined,
    starts: 0,
  },
  {
    name: 'volume delete',
    before: [makeVolume],
    command: { id: 'delete', name: 'volume.delete', params: { pool: poolSpec(), volume } },
    status: undefined,
    starts: 0,
  },
];

/** What can be seen of the host. */
const picture = (state: FakeHostState) => ({
  volumes: [...state.volumes],
  custom: [...state.custom].map((name) => [name, state.quotas.get(name)]),
  nics: [...state.nics],
  setups: [...state.setups.keys()],
  statuses: [...state.statuses],
});

async function prepare(test: Case) {
  const state = newState();
  const journal = createMemoryJournal();
  const host = createFakeHost(state, journal);
  for (const command of test.before) await execute(host, fakeContext(), command);
  state.calls.length = 0;
  return { state, journal, host };
}

describe.each(cases)('$name', (test) => {
  it('ends the same wherever the agent is killed', async () => {
    const reference = await prepare(test);
    await execute(reference.host, fakeContext(), test.command);
    const points = reference.state.calls.length * 2;
    expect(points).toBeGreaterThan(0);

    for (let kill = 1; kill <= points; kill++) {
      const { state, journal, host } = await prepare(test);
      const marks = new Set<string>();
      const keptMarks = { has: (mark: string) => marks.has(mark), add: (mark: string) => void marks.add(mark) };
      let seen = 0;
      // A dead process does nothing more: not even its undo.
      state.at = () => {
        seen += 1;
        if (seen >= kill) throw new Killed();
      };
      // Nor does it write.
      const deadJournal = { ...journal, instances: frozenAfter(journal.instances, () => seen >= kill) };
      await execute({ ...host, journal: deadJournal }, fakeContext({ marks: keptMarks }), test.command).catch(() => {});
      state.at = () => {};

      const restarted = createFakeHost(state, journal);
      await execute(restarted, fakeContext({ resumed: true, marks: keptMarks }), test.command);
      expect(picture(state), `killed at point ${kill}`).toEqual(picture(reference.state));
      expect(journal.instances.list()).toEqual(reference.journal.instances.list());
      expect(state.statuses.get('default/c1')).toBe(test.status);
      expect(state.starts.get('default/c1') ?? 0, `killed at point ${kill}`).toBe(test.starts);
    }
  });
});

function frozenAfter<T extends object>(store: T, isDead: () => boolean): T {
  return new Proxy(store, {
    get: (target, key, receiver) => {
      const value = Reflect.get(target, key, receiver);
      return typeof value === 'function' && (key === 'put' || key === 'delete') && isDead() ? () => {} : value;
    },
  });
}

describe('instance.create that fails for good', () => {
  it('leaves nothing behind whichever verb fails, and keeps the first error', async () => {
    const reference = newState();
    await execute(createFakeHost(reference), fakeContext(), create);
    for (const verb of new Set(reference.calls)) {
      const state = newState();
      const host = createFakeHost(state);
      let failing = true;
      state.at = (point) => {
        if (point !== `before ${verb}` || !failing) return;
        failing = false;
        throw new Error(`cannot ${verb}`);
      };
      await expect(execute(host, fakeContext(), create), verb).rejects.toThrow(`cannot ${verb}`);
      expect(picture(state), verb).toEqual({ volumes: [], custom: [], nics: [], setups: [], statuses: [] });
      expect(host.journal.instances.list(), verb).toEqual([]);
    }
  });

  it('never touches another instance that has the name', async () => {
    const state = newState();
    const host = createFakeHost(state);
    await execute(host, fakeContext(), create);
    const other: Command = { ...create, params: { ...create.params, spec: { ...spec, id: 'another' } } } as Command;
    await expect(execute(host, fakeContext(), other)).rejects.toThrow('already exists');
    expect(state.statuses.get('default/c1')).toBe('Running');
  });

  it('undoes everything when it is cancelled', async () => {
    const state = newState();
    const host = createFakeHost(state);
    const abort = new AbortController();
    state.at = (point) => {
      if (point === 'after volume.create') abort.abort(new Error('cancelled'));
    };
    await expect(execute(host, fakeContext({ signal: abort.signal }), create)).rejects.toThrow('cancelled');
    expect(picture(state)).toEqual({ volumes: [], custom: [], nics: [], setups: [], statuses: [] });
  });
});
