/** A real database with one small cluster in it, and objects that note what they were asked. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import type { Command } from '#protocol/commands.ts';
import { unavailable } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { ClusterEvent, Objects, PlacementRequest, StreamOpening } from '#worker/objects/contract.ts';
import type { Authorized } from '#worker/services/context.ts';
import type { Db } from '#worker/state/db.ts';
import * as schema from '#worker/state/schema.ts';

export const FINGERPRINT = 'fccdc272ac47f034bb8d61d55c566992b25e6db03b6f9bd901f0667812250732';
const NOW = '2026-11-21T02:46:07.090Z';

const RESOURCES: HostResources = {
  architecture: 'x86_64',
  kernel: 'Linux',
  kernelVersion: '6.1.0',
  osName: 'Debian',
  osVersion: '12',
  lxcVersion: '5.0.2',
  cpuCount: 2,
  memoryTotalBytes: 2 ** 32,
  storageDrivers: [],
  interfaces: [],
  addresses: [],
};

/** What the objects were asked to do, in order. */
export interface Asked {
  placed: PlacementRequest[];
  settled: string[];
  delivered: { member: string; command: Command }[];
  published: ClusterEvent[];
  opened: StreamOpening[];
  aborted: string[];
}

export interface World {
  ctx: Authorized;
  asked: Asked;
  objects: Objects;
  db: Db;
  /** Statements and batches sent to the database since the last call. */
  roundTrips: () => number;
  close: () => Promise<void>;
}

function fakeObjects(asked: Asked): Objects {
  const unused = () => Promise.reject(new Error('not part of this test'));
  return {
    cluster: {
      async place(request) {
        asked.placed.push(request);
        const parts = { cpu: 1, failureDomain: 0 };
        const scores = [{ member: 'node1', score: 1, parts }];
        return { member: request.target ?? 'node1', strategy: 'spread', scores, rejections: [] };
      },
      settle: async (id) => void asked.settled.push(id),
      publish: async (events) => void asked.published.push(...events),
      progress: unused,
      waitOperation: async () => {},
      connectEvents: unused,
    },
    links: {
      deliver: async (member, commands) =>
        void asked.delivered.push(...commands.map((command) => ({ member, command }))),
      cancel: unused,
      query: () => Promise.reject(unavailable('away')),
      presence: async () => [],
      state: unused,
      metrics: async () => ({ samples: [], times: [] }),
      connect: unused,
      remove: unused,
      again: async () => {},
      rename: unused,
    },
    streams: {
      open: async (opening) => void asked.opened.push(opening),
      connect: unused,
      transfer: unused,
      abort: async (id) => void asked.aborted.push(id),
    },
  };
}

const member = (name: string, online: boolean) => ({
  name,
  publicKey: name,
  roles: [],
  groups: ['default'],
  config: {},
  architecture: 'x86_64',
  online,
  statusChangedAt: NOW,
  resources: RESOURCES,
  createdAt: NOW,
});

const onMember = (name: string, config: Record<string, string>) => ({
  member: name,
  config,
  status: 'Created' as const,
});

/** Two members, of which node2 is away; a pool, a network, an image; project `shared` has no profiles or images of its own. */
const fill = (db: Db) =>
  db.batch([
    db.insert(schema.members).values([member('node1', true), member('node2', false)]),
    db.insert(schema.projects).values([
      { name: 'default', config: { 'features.profiles': 'true', 'features.images': 'true' } },
      { name: 'shared', config: { 'features.profiles': 'false' } },
    ]),
    db.insert(schema.storagePools).values({ name: 'local', driver: 'zfs', config: { a: '1' }, status: 'Created' }),
    db
      .insert(schema.networks)
      .values({ name: 'br0', type: 'bridge', config: { 'ipv4.address': 'auto' }, status: 'Created' }),
    db
      .insert(schema.storagePoolMembers)
      .values(['node1', 'node2'].map((name) => ({ pool: 'local', ...onMember(name, { source: `tank/${name}` }) }))),
    db
      .insert(schema.networkMembers)
      .values(
        ['node1', 'node2'].map((name) => ({ network: 'br0', ...onMember(name, { 'ipv4.address': '10.0.0.1/24' }) })),
      ),
    db.insert(schema.profiles).values([
      {
        project: 'default',
        name: 'default',
        config: { 'limits.cpu': '1' },
        devices: { root: { type: 'disk', path: '/', pool: 'local' }, eth0: { type: 'nic', network: 'br0' } },
      },
      {
        project: 'default',
        name: 'host',
        config: {},
        devices: { srv: { type: 'disk', path: '/srv', source: '/srv' } },
      },
    ]),
    db.insert(schema.images).values({
      project: 'default',
      fingerprint: FINGERPRINT,
      status: 'ready',
      type: 'container',
      architecture: 'x86_64',
      filename: 'unified.tar.xz',
      sizeBytes: 10,
      properties: { os: 'Busybox', release: '1.35' },
      profiles: ['default'],
      parts: [{ name: 'unified', key: 'k', sizeBytes: 10, filename: 'unified.tar.xz' }],
      createdAt: NOW,
      uploadedAt: NOW,
    }),
    db.insert(schema.imageAliases).values({ project: 'default', name: 'bb', fingerprint: FINGERPRINT }),
  ]);

/** A fresh world; close it. Callers of `ctx` are administrators until `principal` is replaced. */
export async function openWorld(): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-instances-'));
  const client = createClient({ url: `file:${join(directory, 'db')}` });
  const migrations = new URL('../../../migrations/', import.meta.url);
  // The seed's rows would be in the way of this world's own.
  const files = (await readdir(migrations)).filter((file) => /^\d+_(?!seed).*\.sql$/.test(file)).sort();
  for (const file of files) {
    const migration = await readFile(new URL(file, migrations), 'utf8');
    await client.batch(migration.split('--> statement-breakpoint'), 'write');
  }
  let trips = 0;
  const counting = new Proxy(client, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        if (property === 'execute' || property === 'batch') trips += 1;
        return Reflect.apply(value, target, args);
      };
    },
  });
  const db: Db = drizzle({ client: counting });
  await fill(db);
  const asked: Asked = { placed: [], settled: [], delivered: [], published: [], opened: [], aborted: [] };
  const objects = fakeObjects(asked);
  const silent = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };
  const none = () => Promise.reject(new Error('not part of this test'));
  const ctx: Authorized = {
    db,
    objects,
    blobs: { put: none, get: none, delete: none },
    vars: { publicAddresses: [], serverCertificate: '', linkShards: 1, logLevel: 'error' },
    log: silent,
    now: () => new Date().toISOString(),
    newId: () => crypto.randomUUID(),
    principal: { protocol: 'tls', username: 'admin', address: '', projects: null, member: null },
  };
  return {
    ctx,
    asked,
    objects,
    db,
    roundTrips: () => {
      const count = trips;
      trips = 0;
      return count;
    },
    close: async () => {
      client.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
