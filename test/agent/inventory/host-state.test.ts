import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { execute } from '#agent/commands/executors.ts';
import type { Host } from '#agent/commands/host.ts';
import { createStateTeller, hasMoved, parseMeminfo, type StateTeller } from '#agent/inventory/host-state.ts';
import { AgentFrame } from '#protocol/frames.ts';
import type { HostState } from '#protocol/inventory.ts';
import { eventually } from '#test/eventually.ts';
import { createFakeState, type FakeHostState } from '../fakes/drivers.ts';
import { createFakeHost, fakeContext } from '../fakes/host.ts';
import { poolSpec } from '../fakes/specs.ts';

const GIB = 2 ** 30;
const pool = (usedBytes: number) => ({ space: { usedBytes, totalBytes: 100 * GIB }, inodes: { used: 0, total: 0 } });
const FIGURES: HostState = {
  uptimeSeconds: 100,
  loadAverages: [0.1, 0.2, 0.3],
  processes: 100,
  memory: {
    totalBytes: 16 * GIB,
    freeBytes: 8 * GIB,
    sharedBytes: 0,
    bufferedBytes: 0,
    swapTotalBytes: 0,
    swapFreeBytes: 0,
  },
  pools: { local: pool(10 * GIB) },
};

describe('hasMoved', () => {
  it('is false for what a reader would not see', () => {
    const memory = { ...FIGURES.memory, freeBytes: 8.1 * GIB };
    const now = { ...FIGURES, uptimeSeconds: 130, processes: 105, memory, pools: { local: pool(11 * GIB) } };
    expect(hasMoved(FIGURES, now)).toBe(false);
  });

  it.each<[string, Partial<HostState>]>([
    ['memory', { memory: { ...FIGURES.memory, freeBytes: 7 * GIB } }],
    ['the load', { loadAverages: [0.9, 0.2, 0.3] }],
    ['the number of processes', { processes: 130 }],
    ['the use of a pool', { pools: { local: pool(13 * GIB) } }],
    ['a pool that is new', { pools: { local: pool(10 * GIB), other: pool(0) } }],
    ['a pool that is gone', { pools: {} }],
  ])('is true for %s', (_what, change) => {
    expect(hasMoved(FIGURES, { ...FIGURES, ...change })).toBe(true);
  });
});

it('parseMeminfo reads kilobytes as bytes, and 0 for what a kernel does not tell', () => {
  const text =
    'MemTotal:       16384 kB\nMemFree:         8192 kB\nShmem:             16 kB\nBuffers:           32 kB\n';
  expect(parseMeminfo(text)).toEqual({
    totalBytes: 16384 * 1024,
    freeBytes: 8192 * 1024,
    sharedBytes: 16 * 1024,
    bufferedBytes: 32 * 1024,
    swapTotalBytes: 0,
    swapFreeBytes: 0,
  });
});

describe('the teller', () => {
  let state: FakeHostState;
  let host: Host;
  let teller: StateTeller;
  let sent: AgentFrame[];
  const load = { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 2, cpuLoad: 0 };
  beforeEach(() => {
    state = createFakeState();
    host = createFakeHost(state);
    sent = [];
    const send = (frame: AgentFrame) => sent.push(AgentFrame.parse(frame)) > 0;
    teller = createStateTeller({ host, readLoad: async () => load, send });
  });
  afterEach(() => {
    teller.stop();
    state.cleanup();
  });

  it('tells the host with its pools, in a frame with the load', async () => {
    await execute(host, fakeContext(), { name: 'pool.create', params: { pool: poolSpec() } });
    teller.tell();
    await eventually(() => expect(sent).toHaveLength(1));
    expect(sent[0]).toMatchObject({ type: 'load', load, state: { pools: { local: { space: {} } } } });
  });

  it('leaves out a pool that cannot be read, and tells the rest', async () => {
    host.journal.pools.put(poolSpec('broken'));
    host.pools.open = () => Promise.reject(new Error('no such device'));
    teller.tell();
    await eventually(() => expect(sent).toHaveLength(1));
    expect(sent[0]).toMatchObject({ state: { pools: {} } });
  });
});
