import { and, eq } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import type { InstanceState } from '#protocol/inventory.ts';
import { findInstanceNames, listInstanceNames } from '#worker/state/instance-names.ts';
import { profiles } from '#worker/state/schema.ts';
import { addInstance, openTestDb, STATE } from './helpers.ts';

const nic = (...addresses: [address: string, scope: 'global' | 'link'][]) => ({
  addresses: addresses.map(([address, scope]) => ({
    family: address.includes(':') ? ('inet6' as const) : ('inet' as const),
    address,
    netmask: '24',
    scope,
  })),
  counters: {
    bytesReceived: 0,
    bytesSent: 0,
    packetsReceived: 0,
    packetsSent: 0,
    errorsReceived: 0,
    errorsSent: 0,
    packetsDroppedOutbound: 0,
    packetsDroppedInbound: 0,
  },
  hwaddr: '00:16:3e:00:00:01',
  hostName: 'veth0',
  mtu: 1500,
  state: 'up',
  type: 'broadcast',
});
const withNics = (network: InstanceState['network']): InstanceState => ({ ...STATE, network });
const up = withNics({ eth0: nic(['10.1.2.3', 'global'], ['fe80::1', 'link']), docker0: nic(['172.17.0.1', 'global']) });
const running = { status: 'Running' as const, state: up };

async function openDb() {
  const db = await openTestDb();
  await db
    .update(profiles)
    .set({ devices: { eth0: { type: 'nic', network: 'lxdbr0', name: 'eth0' } } })
    .where(and(eq(profiles.project, 'default'), eq(profiles.name, 'default')));
  return db;
}

describe('names of instances', () => {
  it('have the global addresses of NICs on bridges, by profile or of their own', async () => {
    const db = await openDb();
    await addInstance(db, 'c1', running);
    await addInstance(db, 'c2', {
      status: 'Frozen',
      state: withNics({ eth0: nic(['192.0.2.7', 'global']), lan: nic(['10.9.0.1', 'global']) }),
      config: { 'volatile.extra.name': 'lan' },
      devices: {
        eth0: { type: 'nic', nictype: 'bridged', parent: 'br0', network: '', name: 'eth0' },
        extra: { type: 'nic', network: 'backend' },
      },
    });
    expect(await listInstanceNames(db)).toEqual([
      { project: 'default', name: 'c1', addresses: [{ network: 'lxdbr0', address: '10.1.2.3' }] },
      {
        project: 'default',
        name: 'c2',
        addresses: [
          { network: 'br0', address: '192.0.2.7' },
          { network: 'backend', address: '10.9.0.1' },
        ],
      },
    ]);
  });

  it('of a project without profiles of its own come from the default ones', async () => {
    const db = await openDb();
    await addInstance(db, 'c1', { ...running, project: 'shop' });
    expect(await listInstanceNames(db)).toMatchObject([
      { project: 'shop', name: 'c1', addresses: [{ address: '10.1.2.3' }] },
    ]);
  });

  it('are gone for instances that are down, lost or deleted', async () => {
    const db = await openDb();
    await addInstance(db, 'down', { status: 'Stopped', state: up });
    await addInstance(db, 'lost', { status: 'Error', state: null });
    await addInstance(db, 'masked', { ...running, devices: { eth0: { type: 'none' } } });
    expect(await listInstanceNames(db)).toEqual([]);
    const refs = ['down', 'lost', 'gone'].map((name) => ({ project: 'default', name }));
    expect(await findInstanceNames(db, refs, [])).toEqual(refs.map((ref) => ({ ...ref, addresses: [] })));
  });

  it('are found by name and by member', async () => {
    const db = await openDb();
    await addInstance(db, 'c1', { ...running, member: 'm1' });
    await addInstance(db, 'c2', { ...running, member: 'm2' });
    await addInstance(db, 'c3', { ...running, member: 'm3' });
    const found = await findInstanceNames(db, [{ project: 'default', name: 'c1' }], ['m2']);
    expect(found.map(({ name, addresses }) => [name, addresses.length])).toEqual([
      ['c1', 1],
      ['c2', 1],
    ]);
    expect(await findInstanceNames(db, [], [])).toEqual([]);
  });
});
