/**
 * Drivers in memory, with the laws of the real ones: verbs can be repeated, absent things are `not_found`. `failAt` makes
 * one verb throw before or after it has worked, as a kill would end it.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ImageStore } from '#agent/drivers/image/driver.ts';
import type { ExecProcess, InstanceDriver, InstanceSetup, InstanceTransition } from '#agent/drivers/instance/driver.ts';
import type { NetworkDriver } from '#agent/drivers/network/driver.ts';
import type { StorageDriver } from '#agent/drivers/storage/driver.ts';
import { instanceKey } from '#agent/journal/journal.ts';
import type { InstanceRef, PoolSpec } from '#protocol/commands.ts';
import { badRequest, conflict, failed, notFound } from '#protocol/errors.ts';
import type { InstanceStatus } from '#protocol/inventory.ts';
import { hostName } from '#protocol/names.ts';

export interface FakeHostState {
  directory: string;
  /** Verbs called, in order. */
  calls: string[];
  pools: Set<string>;
  images: Set<string>;
  /** Volume → mounted. */
  volumes: Map<string, boolean>;
  quotas: Map<string, number | null>;
  /** Custom volumes. */
  custom: Set<string>;
  networks: Map<string, Record<string, string>>;
  nics: Set<string>;
  setups: Map<string, InstanceSetup>;
  statuses: Map<string, InstanceStatus>;
  starts: Map<string, number>;
  limits: Map<string, Record<string, string>>;
  /** Programs: what `exec` returns. */
  process: (() => ExecProcess) | null;
  /** Called at the beginning and the end of every verb. */
  at: (point: string) => void;
  listeners: Set<(transition: InstanceTransition) => void>;
  cleanup(): void;
}

export function createFakeState(): FakeHostState {
  const directory = mkdtempSync(join(tmpdir(), 'longshore-fake-'));
  return {
    directory,
    calls: [],
    pools: new Set(['local']),
    images: new Set(),
    volumes: new Map(),
    quotas: new Map(),
    custom: new Set(),
    networks: new Map([['lxdbr0', {}]]),
    nics: new Set(),
    setups: new Map(),
    statuses: new Map(),
    starts: new Map(),
    limits: new Map(),
    process: null,
    at: () => {},
    listeners: new Set(),
    cleanup: () => rmSync(directory, { recursive: true, force: true }),
  };
}

const verb =
  (state: FakeHostState) =>
  async <T>(name: string, work: () => T): Promise<T> => {
    state.calls.push(name);
    state.at(`before ${name}`);
    const result = work();
    state.at(`after ${name}`);
    return result;
  };

export function createFakeStorage(state: FakeHostState, pool: PoolSpec): StorageDriver {
  const run = verb(state);
  const pathOf = (name: string) => join(state.directory, pool.name, name);
  const volumes = state.custom;
  return {
    pool,
    custom: {
      create: (name) => run('custom.create', () => void volumes.add(name)),
      mount: (name) =>
        run('custom.mount', () => {
          if (!volumes.has(name)) throw notFound('Storage volume');
          mkdirSync(join(pathOf(`custom-${name}`), 'data'), { recursive: true });
          return join(pathOf(`custom-${name}`), 'data');
        }),
      rename: (name, newName) =>
        run('custom.rename', () => {
          if (!volumes.delete(name) && !volumes.has(newName)) throw notFound('Storage volume');
          volumes.add(newName);
        }),
      delete: (name) => run('custom.delete', () => void volumes.delete(name)),
      list: async () => [...volumes],
      usage: async () => 1,
      setQuota: (name, sizeBytes) => run('custom.quota', () => void state.quotas.set(name, sizeBytes)),
    },
    transfer: {
      send: async (name, carry) => {
        if (!state.volumes.has(name)) throw notFound('Storage volume');
        await run('volume.send', () => {});
        await carry(Readable.from([Buffer.from(`volume ${name}`)]));
      },
      copy: (name, newName) =>
        run('volume.copy', () => {
          if (!state.volumes.has(name)) throw notFound('Storage volume');
          if (state.volumes.has(newName)) throw conflict(`Storage volume "${newName}" already exists`);
          mkdirSync(join(pathOf(newName), 'rootfs'), { recursive: true });
          state.volumes.set(newName, true);
          return pathOf(newName);
        }),
      receive: async (name, content) => {
        if (state.volumes.has(name)) throw conflict(`Storage volume "${name}" already exists`);
        for await (const _chunk of content);
        return run('volume.receive', () => {
          mkdirSync(join(pathOf(name), 'rootfs'), { recursive: true });
          state.volumes.set(name, true);
          return pathOf(name);
        });
      },
    },
    createPool: () =>
      run('pool.create', () => {
        state.pools.add(pool.name);
        return { source: `/fake/${pool.name}` };
      }),
    openPool: async () => {
      if (!state.pools.has(pool.name)) throw failed(`Pool ${pool.name} is not there`);
    },
    growPool: () => run('pool.grow', () => {}),
    deletePool: () => run('pool.delete', () => void state.pools.delete(pool.name)),
    capabilities: async () => ({ idmap: true, quota: true }),
    poolUsage: async () => ({ usedBytes: 1, totalBytes: 2, inodes: { used: 3, total: 4 } }),
    ensureImage: async (fingerprint, unpack) => {
      await unpack(state.directory);
      await run('image.ensure', () => void state.images.add(fingerprint));
    },
    hasImage: async (fingerprint) => state.images.has(fingerprint),
    deleteImage: (fingerprint) => run('image.delete', () => void state.images.delete(fingerprint)),
    createInstanceVolume: (name) =>
      run('volume.create', () => {
        mkdirSync(join(pathOf(name), 'rootfs'), { recursive: true });
        state.volumes.set(name, true);
        return pathOf(name);
      }),
    mountInstanceVolume: (name) =>
      run('volume.mount', () => {
        if (!state.volumes.has(name)) throw notFound('Storage volume');
        state.volumes.set(name, true);
        mkdirSync(join(pathOf(name), 'rootfs'), { recursive: true });
        return pathOf(name);
      }),
    unmountInstanceVolume: (name) =>
      run('volume.unmount', () => void (state.volumes.has(name) && state.volumes.set(name, false))),
    renameInstanceVolume: (name, newName) =>
      run('volume.rename', () => {
        if (!state.volumes.has(name)) throw notFound('Storage volume');
        state.volumes.delete(name);
        state.volumes.set(newName, false);
      }),
    deleteInstanceVolume: (name) => run('volume.delete', () => void state.volumes.delete(name)),
    listInstanceVolumes: async () => [...state.volumes.keys()],
    instanceVolumeUsage: async () => 0,
    setQuota: (name, sizeBytes) => run('volume.quota', () => void state.quotas.set(name, sizeBytes)),
  };
}

export function createFakeNetworks(state: FakeHostState): NetworkDriver {
  const run = verb(state);
  return {
    create: (network, preferred) =>
      run('network.create', () => {
        const config = { 'ipv4.address': network.config['ipv4.address'] ?? preferred.ipv4 ?? 'none' };
        state.networks.set(network.name, config);
        return config;
      }),
    update: (network) => run('network.update', () => network.config),
    delete: (name) => run('network.delete', () => void state.networks.delete(name)),
    restore: () => run('network.restore', () => {}),
    reserve: (nic) =>
      run('nic.reserve', () => {
        if (!state.networks.has(nic.network)) throw notFound('Network');
        state.nics.add(`${nic.instance}/${nic.device}`);
        return {
          bridge: nic.network,
          mtu: 1500,
          ipv4: '10.1.2.34/24',
          ipv4Gateway: '10.1.2.1',
          ipv6: null,
          ipv6Gateway: null,
        };
      }),
    release: (instance, device) => run('nic.release', () => void state.nics.delete(`${instance}/${device}`)),
    renameInstance: (instance, newInstance) =>
      run('nic.rename', () => {
        for (const nic of [...state.nics]) {
          if (!nic.startsWith(`${instance}/`)) continue;
          state.nics.delete(nic);
          state.nics.add(nic.replace(instance, newInstance));
        }
      }),
    announce: (instance, up) => run(`nic.announce ${up ? 'up' : 'down'}`, () => void instance),
    withdrawNames: () => run('names.withdraw', () => {}),
    serveNames: (names) => run('names.serve', () => void names),
    leases: async () => [],
    state: async () => ({}),
  };
}

export function createFakeImages(state: FakeHostState): ImageStore {
  const run = verb(state);
  return {
    ensure: (_image, options) =>
      run('image.fetch', () => {
        options?.signal?.throwIfAborted();
        options?.progress?.('rootfs', 50, 2e6);
      }),
    inspect: async () => ({ architecture: 'x86_64', createdAt: '', expiresAt: null, properties: {} }),
    unpack: async () => {},
    forget: (fingerprint) => run('image.forget', () => void state.images.delete(fingerprint)),
  };
}

export function createFakeInstances(state: FakeHostState): InstanceDriver {
  const run = verb(state);
  const known = (ref: InstanceRef): string => {
    const key = instanceKey(ref);
    if (!state.setups.has(key)) throw notFound('Instance');
    return key;
  };
  const status = (ref: InstanceRef): InstanceStatus => state.statuses.get(known(ref)) ?? 'Stopped';
  const change = (ref: InstanceRef, to: InstanceStatus) => void state.statuses.set(known(ref), to);
  const same = (id: number) => id;
  return {
    configure: (setup) => run('instance.configure', () => void state.setups.set(instanceKey(setup.spec), setup)),
    reconfigure: (setup) => run('instance.reconfigure', () => void state.setups.set(instanceKey(setup.spec), setup)),
    checkDevices: () => {},
    start: (ref) =>
      run('instance.start', () => {
        if (status(ref) === 'Running') return;
        const volume = hostName(ref.project, ref.name);
        if (state.volumes.get(volume) !== true) throw failed(`Volume ${volume} is not mounted`);
        state.starts.set(instanceKey(ref), (state.starts.get(instanceKey(ref)) ?? 0) + 1);
        change(ref, 'Running');
      }),
    stop: (ref) => run('instance.stop', () => change(ref, 'Stopped')),
    freeze: (ref) => run('instance.freeze', () => change(ref, 'Frozen')),
    unfreeze: (ref) => run('instance.unfreeze', () => change(ref, 'Running')),
    remove: (ref) =>
      run('instance.remove', () => {
        if (state.setups.has(instanceKey(ref)) && status(ref) !== 'Stopped') throw badRequest('Instance is running');
        state.setups.delete(instanceKey(ref));
        state.statuses.delete(instanceKey(ref));
      }),
    rename: (ref, newName) =>
      run('instance.rename', () => {
        const setup = state.setups.get(known(ref));
        if (setup === undefined) return;
        state.setups.delete(instanceKey(ref));
        state.setups.set(instanceKey({ ...ref, name: newName }), { ...setup, spec: { ...setup.spec, name: newName } });
      }),
    applyLimits: (ref, config) =>
      run('instance.limits', () => {
        if (config['limits.memory'] === 'too-small') throw failed('Device or resource busy');
        state.limits.set(instanceKey(ref), config);
      }),
    status: async (ref) => status(ref),
    state: async () => null,
    list: async () => [...state.setups.values()].map(({ spec }) => ({ project: spec.project, name: spec.name })),
    report: async (ref) => ({ project: ref.project, name: ref.name, status: status(ref), state: null }),
    metrics: async () => [],
    exec: async () => {
      if (state.process === null) throw failed('no program');
      return state.process();
    },
    console: async () => {
      if (state.process === null) throw failed('no console');
      return state.process();
    },
    openRoot: async (_ref, volumePath) => {
      const fd = openSync(join(volumePath, 'rootfs'), 'r');
      return { fd, toHostUid: same, toHostGid: same, fromHostUid: same, fromHostGid: same, close: () => closeSync(fd) };
    },
    readLog: async () => '',
    watch: (listener) => {
      state.listeners.add(listener);
      return () => state.listeners.delete(listener);
    },
  };
}
