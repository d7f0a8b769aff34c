import { afterEach, describe, expect, it } from 'vitest';
import { createDispatcher, type Dispatcher, type DispatcherDeps } from '#agent/dispatcher.ts';
import { createMemoryJournal } from '#agent/journal/memory.ts';
import { silentLog } from '#agent/log.ts';
import { ExecError } from '#agent/system/exec.ts';
import type { Command, StateAction } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import { eventually } from '#test/eventually.ts';
import { instanceSpec } from '../fakes/specs.ts';

const dispatchers: Dispatcher[] = [];
afterEach(() => {
  for (const dispatcher of dispatchers.splice(0)) dispatcher.stop();
});

/** An executor whose runs the test ends one by one. */
function setUp(overrides: Partial<DispatcherDeps> = {}) {
  const journal = overrides.journal ?? createMemoryJournal();
  const sent: AgentFrame[] = [];
  const running = new Map<string, { resolve(result: unknown): void; reject(error: unknown): void }>();
  const begun: string[] = [];
  const signals = new Map<string, AbortSignal>();
  const resumed = new Map<string, boolean>();
  const dispatcher = createDispatcher({
    journal,
    log: silentLog,
    slots: 4,
    send: (frame) => {
      sent.push(frame);
      return true;
    },
    execute: (command, context) => {
      begun.push(command.id);
      signals.set(command.id, context.signal);
      resumed.set(command.id, context.resumed);
      return new Promise((resolve, reject) => {
        running.set(command.id, { resolve, reject });
        context.signal.addEventListener('abort', () => reject(context.signal.reason));
      });
    },
    ...overrides,
  });
  dispatchers.push(dispatcher);
  const results = () => sent.filter((frame) => frame.type === 'result');
  const begins = (id: string) => eventually(() => expect(begun).toContain(id));
  const ends = async (id: string, result: unknown = {}) => {
    await begins(id);
    running.get(id)?.resolve(result);
    await eventually(() => expect(results().some((frame) => frame.id === id)).toBe(true));
  };
  return { dispatcher, journal, sent, running, begun, signals, resumed, results, begins, ends };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));
const image = (id: string): Command => ({ id, name: 'image.delete', params: { fingerprint: id } });
const state = (id: string, action: StateAction, force = false, name = 'c1'): Command => ({
  id,
  name: 'instance.state',
  params: { spec: instanceSpec({ name }), action, timeoutSeconds: -1, force },
});
const exec = (id: string): Command => ({
  id,
  name: 'instance.exec',
  params: {
    ref: { project: 'default', name: 'c1' },
    streamId: id,
    command: ['sh'],
    environment: {},
    interactive: false,
    width: 0,
    height: 0,
    user: 0,
    group: 0,
    cwd: '',
    attach: true,
  },
});

describe('a command frame', () => {
  it('is in the journal before it is acknowledged, and acknowledged before it runs', async () => {
    const journal = createMemoryJournal();
    const order: string[] = [];
    const { dispatcher } = setUp({
      journal: {
        ...journal,
        accept: (command) => {
          order.push('journal');
          return journal.accept(command);
        },
      },
      send: (frame) => {
        order.push(frame.type);
        return true;
      },
      execute: async () => {
        order.push('run');
        return {};
      },
    });
    dispatcher.start();
    dispatcher.take(image('a'));
    await eventually(() => expect(order).toEqual(['journal', 'ack', 'run', 'result']));
  });

  it('runs once however often it comes while it runs', async () => {
    const { dispatcher, begun, ends, results } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    dispatcher.take(image('a'));
    await ends('a');
    expect(begun).toEqual(['a']);
    expect(results()).toHaveLength(1);
  });

  it('is answered with the same result when it comes again later, even after the acknowledgement', async () => {
    const { dispatcher, begun, ends, results } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    await ends('a', { answer: 1 });
    dispatcher.acknowledge('a');
    dispatcher.take(image('a'));
    expect(begun).toEqual(['a']);
    expect(results().map((frame) => frame.outcome)).toEqual([
      { ok: true, result: { answer: 1 } },
      { ok: true, result: { answer: 1 } },
    ]);
  });

  it('with params that cannot be read fails at once, and is not journaled', () => {
    const { dispatcher, journal, results } = setUp();
    dispatcher.start();
    dispatcher.take({ id: 'a', name: 'image.delete', params: { nonsense: true } });
    expect(results()[0]?.outcome).toMatchObject({ ok: false, error: { code: 'bad_request' } });
    expect(journal.listUnfinished()).toEqual([]);
  });
});

describe('results', () => {
  it('are sent again at every welcome until they are acknowledged', async () => {
    const { dispatcher, ends, results } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    await ends('a');
    dispatcher.resend();
    dispatcher.resend();
    expect(results()).toHaveLength(3);
    dispatcher.acknowledge('a');
    dispatcher.resend();
    expect(results()).toHaveLength(3);
  });

  it.each([
    ['an error meant for users', notFound('Instance'), { code: 'not_found', message: 'Instance not found' }],
    [
      'what a program said',
      new ExecError('zfs', 1, 'cannot open\ndataset is busy'),
      { code: 'failed', message: 'zfs failed with code 1: dataset is busy' },
    ],
    ['a bug, without its text', new TypeError('secret of x'), { code: 'internal', message: 'Internal error' }],
  ])('tell %s', async (_name, error, expected) => {
    const { dispatcher, running, begins, results } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    await begins('a');
    running.get('a')?.reject(error);
    await eventually(() => expect(results()[0]?.outcome).toEqual({ ok: false, error: expected }));
  });
});

describe('after a restart', () => {
  it('unfinished commands run again in their order, marked as resumed; finished ones do not', async () => {
    const journal = createMemoryJournal();
    for (const id of ['a', 'b', 'c']) journal.accept(image(id));
    journal.finish('b', { ok: true, result: {} });
    const { dispatcher, begun, resumed } = setUp({ journal });
    dispatcher.start();
    await eventually(() => expect(begun).toEqual(['a', 'c']));
    expect(resumed.get('a')).toBe(true);
  });

  it('a command that comes before the host is ready waits for it', async () => {
    const { dispatcher, begun, begins, sent } = setUp();
    dispatcher.take(image('a'));
    await settle();
    expect(begun).toEqual([]);
    expect(sent).toEqual([{ type: 'ack', id: 'a' }]);
    dispatcher.start();
    await begins('a');
  });

  it('a stopped process leaves its commands to the next one', async () => {
    const { dispatcher, journal, running, begins, results } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    await begins('a');
    dispatcher.stop();
    running.get('a')?.resolve({});
    await settle();
    expect(results()).toEqual([]);
    expect(journal.listUnfinished()).toHaveLength(1);
  });
});

describe('order', () => {
  it('commands of one instance run one after the other, those of others at the same time', async () => {
    const { dispatcher, begun, begins, ends } = setUp();
    dispatcher.start();
    dispatcher.take(state('start', 'start'));
    dispatcher.take(state('freeze', 'freeze'));
    dispatcher.take(state('other', 'start', false, 'c2'));
    await begins('other');
    expect(begun).toEqual(['start', 'other']);
    await ends('start');
    await begins('freeze');
  });

  it('a program that runs for ever holds up nothing', async () => {
    const { dispatcher, begins } = setUp({ slots: 8 });
    dispatcher.start();
    dispatcher.take(exec('shell'));
    await begins('shell');
    dispatcher.take(exec('second'));
    dispatcher.take(state('stop', 'stop'));
    await begins('second');
    await begins('stop');
  });

  it('a forced stop overtakes a stop that hangs', async () => {
    const { dispatcher, begins } = setUp();
    dispatcher.start();
    dispatcher.take(state('gentle', 'stop'));
    await begins('gentle');
    dispatcher.take(state('forced', 'stop', true));
    await begins('forced');
  });

  it('a forced restart ends a restart that hangs and follows it', async () => {
    const { dispatcher, begins, results } = setUp();
    dispatcher.start();
    dispatcher.take(state('gentle', 'restart'));
    await begins('gentle');
    dispatcher.take(state('forced', 'restart', true));
    await begins('forced');
    expect(results()[0]).toMatchObject({ id: 'gentle', outcome: { ok: false, error: { code: 'cancelled' } } });
  });

  it('an instance waits for the making of its pool', async () => {
    const { dispatcher, begun, begins, ends } = setUp();
    dispatcher.start();
    const pool = { name: 'local', driver: 'dir' as const, config: {} };
    dispatcher.take({ id: 'pool', name: 'pool.create', params: { pool } });
    dispatcher.take(state('start', 'start'));
    await begins('pool');
    await settle();
    expect(begun).toEqual(['pool']);
    await ends('pool');
    await begins('start');
  });

  it('no more commands work at once than there are slots', async () => {
    const { dispatcher, begun, begins, ends } = setUp({ slots: 2 });
    dispatcher.start();
    for (const id of ['a', 'b', 'c']) dispatcher.take(image(id));
    await begins('b');
    await settle();
    expect(begun).toEqual(['a', 'b']);
    await ends('a');
    await begins('c');
  });
});

describe('cancel', () => {
  it('aborts a running command, which then fails as cancelled', async () => {
    const { dispatcher, begins, results, signals } = setUp();
    dispatcher.start();
    dispatcher.take(image('a'));
    await begins('a');
    dispatcher.cancel('a');
    expect(signals.get('a')?.aborted).toBe(true);
    await eventually(() => expect(results()[0]?.outcome).toMatchObject({ ok: false, error: { code: 'cancelled' } }));
  });

  it('ends a waiting command without running it', async () => {
    const { dispatcher, begins, begun, results } = setUp();
    dispatcher.start();
    dispatcher.take(state('first', 'start'));
    dispatcher.take(state('second', 'freeze'));
    await begins('first');
    dispatcher.cancel('second');
    await eventually(() => expect(results()[0]).toMatchObject({ id: 'second', outcome: { ok: false } }));
    expect(begun).toEqual(['first']);
  });

  it('of an unknown or finished command changes nothing', async () => {
    const { dispatcher, ends, results } = setUp();
    dispatcher.start();
    dispatcher.cancel('never');
    dispatcher.take(image('a'));
    await ends('a');
    dispatcher.cancel('a');
    expect(results()[0]?.outcome.ok).toBe(true);
  });
});
