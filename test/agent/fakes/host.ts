/** A host over the fakes, with a journal in memory that knows the pool `local` and the network `lxdbr0`. */
import type { CommandContext, Host } from '#agent/commands/host.ts';
import { createPools } from '#agent/commands/pools.ts';
import { createSlots } from '#agent/commands/slots.ts';
import type { Journal } from '#agent/journal/journal.ts';
import { createMemoryJournal } from '#agent/journal/memory.ts';
import { silentLog } from '#agent/log.ts';
import { unavailable } from '#protocol/errors.ts';
import {
  createFakeImages,
  createFakeInstances,
  createFakeNetworks,
  createFakeStorage,
  type FakeHostState,
} from './drivers.ts';
import { networkSpec, poolSpec } from './specs.ts';

export function createFakeHost(state: FakeHostState, journal: Journal = createMemoryJournal()): Host {
  journal.pools.put(poolSpec());
  journal.networks.put(networkSpec());
  return {
    log: silentLog,
    journal,
    pools: createPools({ journal, createStorage: (pool) => createFakeStorage(state, pool) }),
    instances: createFakeInstances(state),
    networks: createFakeNetworks(state),
    images: createFakeImages(state),
    openStream: () => Promise.reject(unavailable('no link')),
    release: {
      exec: () => Promise.reject(new Error('no release in this test')),
      dataDir: '/nonexistent',
      fetchRelease: () => Promise.reject(new Error('no release in this test')),
      restart: () => {},
    },
    openContent: () => {
      throw unavailable('no link');
    },
    openRelay: () => {
      throw unavailable('no link');
    },
    departures: createSlots(2),
    tellInventory: () => Promise.reject(unavailable('no link')),
  };
}

export function fakeContext(overrides: Partial<CommandContext> = {}): CommandContext {
  const marks = new Set<string>();
  return {
    id: 'command-1',
    resumed: false,
    signal: new AbortController().signal,
    progress: () => {},
    marks: { has: (mark) => marks.has(mark), add: (mark) => void marks.add(mark) },
    unslotted: (work) => work(),
    ...overrides,
  };
}
