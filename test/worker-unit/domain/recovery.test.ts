import { describe, expect, it } from 'vitest';
import type { ClusterBackup, FoundInstance, HostInventory, InstanceBackup } from '#protocol/backup.ts';
import { type HostShare, type Known, planRecovery, recoveryKey } from '#worker/domain/recovery.ts';

const EARLY = '2026-11-21T10:00:00.000Z';
const LATE = '2026-11-21T11:00:00.000Z';

const EMPTY: Known = { fresh: true, has: () => false, instance: () => undefined };

const cluster = (fields: Partial<ClusterBackup> = {}): ClusterBackup => ({
  config: {},
  member: {
    description: '',
    failureDomain: 'default',
    roles: ['database'],
    groups: ['default'],
    config: {},
    state: 'Created',
    createdAt: EARLY,
  },
  groups: [],
  projects: [{ name: 'default', description: '', config: {} }],
  profiles: [],
  pools: [],
  networks: [],
  volumes: [],
  images: [],
  aliases: [],
  ...fields,
});
const inventory = (fields: Partial<HostInventory> = {}): HostInventory => ({
  takenAt: EARLY,
  cluster: cluster(),
  instances: [],
  pools: [],
  networks: [],
  ...fields,
});
const instance = (fields: Partial<InstanceBackup> = {}): InstanceBackup => ({
  id: 'id-1',
  project: 'default',
  name: 'c1',
  type: 'container',
  architecture: 'x86_64',
  description: '',
  ephemeral: false,
  stateful: false,
  profiles: [],
  config: {},
  devices: {},
  pool: 'local',
  createdAt: EARLY,
  lastUsedAt: null,
  ...fields,
});
const found = (fields: Partial<FoundInstance> = {}): FoundInstance => ({
  instance: instance(),
  takenAt: EARLY,
  expandedConfig: {},
  expandedDevices: {},
  status: 'Stopped',
  state: null,
  ...fields,
});
const share = (member: string, fields: Partial<HostInventory> = {}): HostShare => ({
  member,
  inventory: inventory(fields),
});
const profile = (motto: string) => ({
  project: 'default',
  name: 'web',
  description: '',
  config: { 'user.motto': motto },
  devices: {},
});

describe('what several hosts keep', () => {
  it('counts as the newest copy has it, whoever is asked first', () => {
    const old = share('host1', { cluster: cluster({ profiles: [profile('old')] }) });
    const fresh = share('host2', { takenAt: LATE, cluster: cluster({ profiles: [profile('new')] }) });
    for (const shares of [
      [old, fresh],
      [fresh, old],
    ]) {
      expect(planRecovery(shares, EMPTY).profiles).toEqual([profile('new')]);
    }
  });

  it('keeps of each host its own part of a pool and a network', () => {
    const own = (source: string) => ({ config: { source }, status: 'Created' as const, message: '' });
    const pool = { name: 'local', driver: 'zfs' as const, description: 'd', config: {} };
    const plan = planRecovery(
      ['host1', 'host2'].map((name) =>
        share(name, { cluster: cluster({ pools: [{ ...pool, own: own(`tank/${name}`) }] }) }),
      ),
      EMPTY,
    );
    expect(plan.pools).toEqual([pool]);
    expect(plan.poolMembers.map(({ member, config }) => [member, config.source])).toEqual([
      ['host1', 'tank/host1'],
      ['host2', 'tank/host2'],
    ]);
  });

  it('leaves alone what the database has by now, but for what every new one has', () => {
    const shares = [share('host1', { cluster: cluster({ profiles: [profile('theirs')] }) })];
    const has: Known['has'] = (kind, key) =>
      (kind === 'profiles' && key === recoveryKey('default', 'web')) || (kind === 'projects' && key === 'default');
    expect(planRecovery(shares, { ...EMPTY, has }).profiles).toHaveLength(1);
    const later = planRecovery(shares, { ...EMPTY, fresh: false, has });
    expect([later.profiles, later.projects]).toEqual([[], []]);
  });
});

describe('a host without copies', () => {
  it('gives pools and networks as it was told of them', () => {
    const plan = planRecovery(
      [
        share('host1', {
          takenAt: '',
          cluster: null,
          pools: [{ name: 'local', driver: 'dir', config: { source: '/srv', 'user.x': '1' } }],
          networks: [
            {
              name: 'br0',
              type: 'bridge',
              description: '',
              config: { 'ipv4.address': '10.1.1.1/24', 'ipv4.nat': 'true' },
            },
          ],
        }),
      ],
      EMPTY,
    );
    expect(plan.pools).toMatchObject([{ name: 'local', config: { 'user.x': '1' } }]);
    expect(plan.poolMembers).toMatchObject([{ pool: 'local', member: 'host1', config: { source: '/srv' } }]);
    expect(plan.networks).toMatchObject([{ config: { 'ipv4.address': 'auto', 'ipv4.nat': 'true' } }]);
    expect(plan.networkMembers).toMatchObject([{ config: { 'ipv4.address': '10.1.1.1/24' } }]);
    expect(plan.notes).toEqual(['Host "host1" has no copy of the cluster\'s definitions']);
  });

  it('gives its instances what a profile gave that is nowhere any more, and the project that they are in', () => {
    const root = { type: 'disk', path: '/', pool: 'local' };
    const lost = found({
      instance: instance({ project: 'dev', profiles: ['gone'], config: { 'user.own': '1' } }),
      expandedConfig: { 'user.own': '1', 'limits.memory': '1MiB' },
      expandedDevices: { root },
    });
    const plan = planRecovery([share('host1', { cluster: null, instances: [lost] })], EMPTY);
    expect(plan.instances).toMatchObject([
      {
        memoryBytes: 1024 * 1024,
        instance: { profiles: [], config: { 'user.own': '1', 'limits.memory': '1MiB' }, devices: { root } },
      },
    ]);
    expect(plan.projects.map(({ name }) => name)).toContain('dev');
  });
});

describe('an instance on two hosts', () => {
  const places = (...shares: HostShare[]) => {
    const { instances, notes } = planRecovery(shares, EMPTY);
    return { on: instances.map(({ member }) => member), notes };
  };

  it('is where it runs, though the copy there is older', () => {
    const { on, notes } = places(
      share('host1', { instances: [found({ takenAt: LATE })] }),
      share('host2', { instances: [found({ takenAt: '', status: 'Running' })] }),
    );
    expect(on).toEqual(['host2']);
    expect(notes).toEqual([
      'Instance "c1" of project "default" is on "host2"; "host1" has another copy (Stopped), which is left there',
    ]);
  });

  it('is where its copy is newer, when it runs nowhere', () => {
    const { on } = places(
      share('host1', { instances: [found()] }),
      share('host2', { instances: [found({ takenAt: LATE })] }),
    );
    expect(on).toEqual(['host2']);
  });

  it('stays where the database has it', () => {
    const known: Known = { ...EMPTY, fresh: false, instance: () => ({ member: 'host1', id: 'id-1' }) };
    const shares = [
      share('host1', { instances: [found()] }),
      share('host2', { instances: [found({ status: 'Running' })] }),
    ];
    const { instances, notes } = planRecovery(shares, known);
    expect(instances).toEqual([]);
    expect(notes).toEqual([expect.stringContaining('"host2" has another copy (Running)')]);
  });
});
