/** A database as production has it: real libSQL, migrated from `migrations/`, in a directory that goes with the test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import { migrate } from 'drizzle-orm/libsql/migrator';
import { onTestFinished } from 'vitest';
import type { CommandName, CommandParams } from '#protocol/commands.ts';
import type { HostResources, InstanceState } from '#protocol/inventory.ts';
import type { Db } from '#worker/state/db.ts';
import * as schema from '#worker/state/schema.ts';

const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url));

/** Every test gets its own. */
export async function openTestDb(): Promise<Db> {
  const directory = await mkdtemp(join(tmpdir(), 'longshore-state-'));
  const client = createClient({ url: `file:${join(directory, 'test.db')}` });
  onTestFinished(async () => {
    client.close();
    await rm(directory, { recursive: true, force: true });
  });
  const db = drizzle({ client });
  await migrate(db, { migrationsFolder: MIGRATIONS });
  return db;
}

export const T0 = '2026-11-21T10:00:00.000Z';
export const T1 = '2026-11-21T10:00:01.000Z';

export const RESOURCES: HostResources = {
  architecture: 'x86_64',
  kernel: 'Linux',
  kernelVersion: '6.1.0',
  osName: 'Debian',
  osVersion: '12',
  lxcVersion: '5.0.2',
  cpuCount: 4,
  memoryTotalBytes: 8 * 2 ** 30,
  storageDrivers: [{ name: 'dir', version: '1' }],
  interfaces: [],
  addresses: ['192.0.2.1'],
};

export const STATE: InstanceState = {
  pid: 100,
  processes: 5,
  cpuUsageNs: 1,
  memory: { usage: 1, usagePeak: 1, swapUsage: 0, swapUsagePeak: 0 },
  disk: {},
  network: null,
};

export async function addMember(db: Db, name: string, fields: Partial<typeof schema.members.$inferInsert> = {}) {
  await db.insert(schema.members).values({
    name,
    publicKey: `key-of-${name}`,
    roles: [],
    groups: ['default'],
    config: {},
    architecture: 'x86_64',
    online: true,
    statusChangedAt: T0,
    resources: RESOURCES,
    createdAt: T0,
    ...fields,
  });
}

export async function addInstance(db: Db, name: string, fields: Partial<typeof schema.instances.$inferInsert> = {}) {
  await db.insert(schema.instances).values({
    id: `id-${name}`,
    project: 'default',
    name,
    type: 'container',
    member: 'm1',
    architecture: 'x86_64',
    profiles: ['default'],
    config: {},
    devices: {},
    pool: 'local',
    status: 'Stopped',
    createdAt: T0,
    ...fields,
  });
}

export async function addOperation(db: Db, id: string, fields: Partial<typeof schema.operations.$inferInsert> = {}) {
  await db.insert(schema.operations).values({
    id,
    project: 'default',
    class: 'task',
    description: 'Creating instance',
    status: 103,
    resources: { instances: ['/1.0/instances/c1'] },
    mayCancel: true,
    location: 'm1',
    createdAt: T0,
    updatedAt: T0,
    ...fields,
  });
}

/** A waiting command; its params are checked against its name. */
export async function addCommand<N extends CommandName>(
  db: Db,
  command: { id: string; name: N; params: CommandParams<N> },
  fields: Partial<typeof schema.commands.$inferInsert> = {},
) {
  await db
    .insert(schema.commands)
    .values({ ...command, operationId: null, member: 'm1', status: 'waiting', createdAt: T0, ...fields });
}

export async function addPool(db: Db, name: string, parts: Record<string, 'Pending' | 'Created' | 'Errored'>) {
  await db.insert(schema.storagePools).values({ name, driver: 'dir', config: {}, status: 'Pending' });
  for (const [member, status] of Object.entries(parts)) {
    await db.insert(schema.storagePoolMembers).values({ pool: name, member, config: {}, status });
  }
}

export const poolSpec = (name = 'local') => ({ name, driver: 'dir' as const, config: {} });

export const specOf = (name: string): CommandParams<'instance.update'>['spec'] => ({
  id: `id-${name}`,
  project: 'default',
  name,
  type: 'container',
  architecture: 'x86_64',
  description: '',
  ephemeral: false,
  createdAt: T0,
  profiles: ['default'],
  config: {},
  devices: {},
  expandedConfig: {},
  expandedDevices: { root: { type: 'disk', path: '/', pool: 'local' } },
});

export const createParams = (name: string, start = false): CommandParams<'instance.create'> => ({
  spec: specOf(name),
  image: null,
  pool: poolSpec(),
  networks: [],
  start,
});

export const report = (name: string, status: 'Running' | 'Stopped' | 'Frozen' | 'Error') => ({
  project: 'default',
  name,
  status,
  state: status === 'Running' ? STATE : null,
});

export const actionsOf = (events: readonly { type: string; metadata: Record<string, unknown> }[]) =>
  events.flatMap(({ type, metadata }) => (type === 'lifecycle' ? [metadata.action] : []));
