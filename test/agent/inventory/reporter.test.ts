import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { autostartOrder, restoreInstances } from '#agent/inventory/boot.ts';
import { hasNews, hasUsageNews } from '#agent/inventory/changes.ts';
import { parseOsRelease } from '#agent/inventory/host.ts';
import { decay, hasChanged, isRunnable, runnableOf } from '#agent/inventory/load.ts';
import { createReporter, fullFrames, type Reporter } from '#agent/inventory/reporter.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import type { InstanceReport, InstanceState } from '#protocol/inventory.ts';
import { eventually } from '#test/eventually.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { imageSource, instanceSpec, networkSpec, poolSpec } from '../fakes/specs.ts';

let state: FakeHostState;
let host: Host;
let sent: AgentFrame[];
let busy: string;
let reporter: Reporter;
beforeEach(() => {
  state = createFakeState();
  host = createFakeHost(state);
  sent = [];
  busy = '';
  const send = (frame: AgentFrame) => sent.push(frame) > 0;
  reporter = createReporter({
    host,
    send,
    isBusy: ({ name }) => name === busy,
    readLoad: () => Promise.reject(new Error('unused')),
  });
  reporter.start();
});
afterEach(() => {
  reporter.stop();
  state.cleanup();
});

const ref = { project: 'default', name: 'c1' };
const make = (overrides = {}) =>
  execute(host, fakeContext(), {
    name: 'instance.create',
    params: {
      spec: instanceSpec(overrides),
      image: imageSource(),
      pool: poolSpec(),
      networks: [networkSpec()],
      start: true,
    },
  });
const stopByItself = () => {
  state.statuses.set('default/c1', 'Stopped');
  for (const listener of state.listeners) listener({ ref, kind: 'stopped' });
};

/** Another instance's news, told together with whatever else there is to tell. */
const tellOther = async () => {
  const before = sent.length;
  host.journal.instances.put({ spec: instanceSpec({ name: 'other' }), pool: 'local', power: 'STOPPED' });
  reporter.touch({ project: 'default', name: 'other' });
  await eventually(() => expect(sent.length).toBeGreaterThan(before));
};

it('tells everything, also what is only half there', async () => {
  await make();
  host.journal.instances.put({ spec: instanceSpec({ name: 'half' }), pool: 'local', power: 'RUNNING' });
  busy = 'half';
  await reporter.reportAll();
  expect(sent).toHaveLength(1);
  expect(sent[0]).toMatchObject({
    type: 'inventory',
    full: true,
    instances: [
      { name: 'c1', status: 'Running' },
      { name: 'half', status: 'Stopped' },
    ],
  });
});

it('tells once that an instance has stopped by itself, and remembers that it is down', async () => {
  await make();
  await reporter.reportAll();
  stopByItself();
  stopByItself();
  await eventually(() => expect(sent).toHaveLength(2));
  expect(sent[1]).toMatchObject({ full: false, instances: [{ name: 'c1', status: 'Stopped' }] });
  expect(host.journal.instances.find(ref)?.power).toBe('STOPPED');
});

it('says nothing of an instance on which a command works', async () => {
  await make();
  await reporter.reportAll();
  busy = 'c1';
  stopByItself();
  await tellOther();
  expect(JSON.stringify(sent.slice(1))).not.toContain('"c1"');
  expect(host.journal.instances.find(ref)?.power).toBe('RUNNING');
});

it('hears of a stop that nobody asked for, and of none that a command makes', async () => {
  await make();
  const heard: string[] = [];
  reporter.stop();
  const onUnasked = ({ kind }: { kind: string }) => void heard.push(kind);
  const readLoad = () => Promise.reject(new Error('unused'));
  reporter = createReporter({ host, send: () => true, isBusy: ({ name }) => name === busy, readLoad, onUnasked });
  reporter.start();
  busy = 'c1';
  stopByItself();
  busy = '';
  stopByItself();
  expect(heard).toEqual(['stopped']);
});

it('finds an instance that was frozen behind its back', async () => {
  await make();
  await reporter.reportAll();
  state.statuses.set('default/c1', 'Frozen');
  await eventually(() => expect(sent.at(-1)).toMatchObject({ instances: [{ name: 'c1', status: 'Frozen' }] }));
});

it('finds a stopped instance whose volume has gone, says which, and takes it back when it is there again', async () => {
  await make();
  await reporter.reportAll();
  stopByItself();
  await eventually(() => expect(sent.at(-1)).toMatchObject({ instances: [{ status: 'Stopped' }] }));
  state.volumes.delete('c1');
  await eventually(() =>
    expect(sent.at(-1)).toMatchObject({
      full: false,
      instances: [
        { name: 'c1', status: 'Error', problem: 'Storage volume "c1" is missing in storage pool "local"', state: null },
      ],
    }),
  );
  await reporter.reportAll();
  expect(sent.at(-1)).toMatchObject({ full: true, instances: [{ status: 'Error', problem: expect.any(String) }] });
  state.volumes.set('c1', false);
  await eventually(() => expect(sent.at(-1)).toMatchObject({ full: false, instances: [{ status: 'Stopped' }] }));
});

it('does not miss the volume of an instance on which a command works', async () => {
  await make();
  state.statuses.set('default/c1', 'Stopped');
  state.volumes.delete('c1');
  busy = 'c1';
  await reporter.reportAll();
  expect(sent.at(-1)).toMatchObject({ instances: [{ name: 'c1', status: 'Stopped' }] });
});

it('counts what a result said as told', async () => {
  const result = await make();
  reporter.noteResult(result);
  reporter.touch(ref);
  await tellOther();
  expect(JSON.stringify(sent)).not.toContain('"c1"');
});

const running = (overrides: Partial<InstanceState> = {}): InstanceReport => ({
  ...ref,
  status: 'Running',
  state: {
    pid: 1,
    processes: 5,
    cpuUsageNs: 0,
    memory: { usage: 100e6, usagePeak: 0, swapUsage: 0, swapUsagePeak: 0 },
    disk: {},
    network: null,
    ...overrides,
  },
});

it('knows news from noise', () => {
  expect(hasNews(undefined, running())).toBe(true);
  expect(hasNews(running(), running({ cpuUsageNs: 1e12 }))).toBe(false);
  expect(hasNews(running(), running({ pid: 2 }))).toBe(true);
  expect(hasUsageNews(running(), running({ cpuUsageNs: 1e9 }))).toBe(false);
  expect(hasUsageNews(running(), running({ processes: 9 }))).toBe(true);
  const grown = { usage: 120e6, usagePeak: 0, swapUsage: 0, swapUsagePeak: 0 };
  expect(hasUsageNews(running(), running({ memory: grown }))).toBe(true);
});

it('splits an inventory that does not fit in one frame, the complete list first', () => {
  const reports = Array.from({ length: 50 }, (_, index) => ({ ...running(), name: `c${index}` }));
  const [first, ...rest] = fullFrames(reports, 4000);
  expect(first).toMatchObject({ full: true });
  expect(first?.type === 'inventory' && first.instances).toHaveLength(50);
  const figures = rest.flatMap((frame) => (frame.type === 'inventory' ? frame.instances : []));
  expect(figures).toEqual(reports);
  expect(Math.max(...rest.map((frame) => JSON.stringify(frame).length))).toBeLessThan(5000);
});

it('tells the load only when it moved by more than 5 %', () => {
  const load = { memoryTotalBytes: 1000, memoryAvailableBytes: 500, cpuCount: 2, cpuLoad: 1 };
  expect(hasChanged(load, { ...load, memoryAvailableBytes: 540 })).toBe(false);
  expect(hasChanged(load, { ...load, memoryAvailableBytes: 560 })).toBe(true);
  expect(hasChanged(load, { ...load, cpuLoad: 1.2 })).toBe(true);
});

it('reads os-release', () => {
  expect(parseOsRelease('NAME="Debian GNU/Linux"\nVERSION_ID=\'12\'\nID=debian\n#x')).toEqual({
    NAME: 'Debian GNU/Linux',
    VERSION_ID: '12',
    ID: 'debian',
  });
});

describe('after a boot', () => {
  const record = (name: string, config: Record<string, string>, power: 'RUNNING' | 'STOPPED') => ({
    spec: instanceSpec({ name, expandedConfig: config }),
    pool: 'local',
    power,
  });

  it('what was running or is wanted goes up, highest priority first', () => {
    const order = autostartOrder([
      record('off', {}, 'STOPPED'),
      record('was-up', {}, 'RUNNING'),
      record('never', { 'boot.autostart': 'false' }, 'RUNNING'),
      record('always', { 'boot.autostart': 'true' }, 'STOPPED'),
      record('first', { 'boot.autostart': 'true', 'boot.autostart.priority': '10' }, 'STOPPED'),
    ]);
    expect(order.map((spec) => spec.name)).toEqual(['first', 'always', 'was-up']);
  });

  it('starts them without the control plane; one that fails does not hold up the next', async () => {
    await make();
    await make({ name: 'c2', id: 'instance-2' });
    for (const key of state.statuses.keys()) state.statuses.set(key, 'Stopped');
    for (const key of state.volumes.keys()) state.volumes.set(key, false);
    let starts = 0;
    state.at = (point) => {
      if (point === 'before instance.start' && ++starts === 1) throw new Error('no');
    };
    await restoreInstances(host, 'second boot', async (_spec, start) => void (await start()));
    expect([...state.statuses]).toEqual([
      ['default/c1', 'Stopped'],
      ['default/c2', 'Running'],
    ]);
    expect(host.journal.lastBoot()).toBe('second boot');
  });

  it('a restart of the agent alone starts nothing that has stopped by itself', async () => {
    await make();
    host.journal.setLastBoot('same');
    state.statuses.set('default/c1', 'Stopped');
    await restoreInstances(host, 'same', async (_spec, start) => void (await start()));
    expect(state.statuses.get('default/c1')).toBe('Stopped');
    expect(host.journal.instances.find(ref)?.power).toBe('STOPPED');
  });
});

it('forgets nearly all of the load that is older than a minute', () => {
  const after = (seconds: number) =>
    Array.from({ length: seconds / 2 }).reduce<number>((average) => decay(average, 4, 2_000), 0);
  expect(after(60)).toBeCloseTo(4 * (1 - Math.exp(-3)), 6);
  expect(after(600)).toBeCloseTo(4, 6);
});

it('counts what runs, whatever its name', () => {
  const stats = ['1 (sh) R 0 1', '2 (a) b) R 0', '3 (R) S 0', '4 (x (R) I 0', '5 (dd) D 0', ''];
  expect(stats.map(isRunnable)).toEqual([true, true, false, false, false, false]);
  expect(runnableOf('0.30 1.48 2.85 4/110 13236\n')).toBe(3);
  expect(runnableOf('0.30 1.48 2.85 1/110 13236\n')).toBe(0);
});
