import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { renderState } from '#protocol/api/instance-state.ts';
import { mergeProfiles, renderInstance, renderInstanceFull } from '#worker/services/instance-render.ts';
import { renderList } from '#worker/services/instances.ts';
import type { InstanceRow } from '#worker/state/instance-queries.ts';

/** `GET /1.0/instances?recursion=2` of a real LXD 5.0.2 cluster. */
const sample = JSON.parse(readFileSync(new URL('../../fixtures/lxd-instance-full.json', import.meta.url), 'utf8'));

const row: InstanceRow = {
  id: 'id1',
  project: 'default',
  name: 'c1',
  type: 'container',
  member: 'node1',
  movingTo: null,
  architecture: 'x86_64',
  description: '',
  ephemeral: false,
  stateful: false,
  profiles: ['default'],
  config: sample.config,
  devices: {},
  pool: 'local',
  memoryBytes: 0,
  status: 'Running',
  state: {
    pid: 137,
    processes: -1,
    cpuUsageNs: -1,
    memory: { usage: 0, usagePeak: 0, swapUsage: 0, swapUsagePeak: 0 },
    disk: {},
    network: {
      eth0: {
        addresses: [{ family: 'inet', address: '10.9.0.54', netmask: '24', scope: 'global' }],
        counters: {
          bytesReceived: 728,
          bytesSent: 996,
          packetsReceived: 3,
          packetsSent: 6,
          errorsReceived: 0,
          errorsSent: 0,
          packetsDroppedOutbound: 0,
          packetsDroppedInbound: 0,
        },
        hwaddr: '00:16:3e:40:08:fc',
        hostName: 'vethc2a11f4f',
        mtu: 1500,
        state: 'up',
        type: 'broadcast',
      },
    },
  },
  stateAt: null,
  createdAt: '2026-11-21T02:46:07.090135089Z',
  lastUsedAt: '2026-11-21T02:47:42.256230912Z',
};
const layer = {
  project: 'default',
  name: 'default',
  config: {},
  devices: {
    eth0: { nictype: 'bridged', parent: 'my-network', type: 'nic' },
    root: { path: '/', pool: 'local', type: 'disk' },
  },
};
const base = mergeProfiles([layer]);

describe('rendering', () => {
  it('makes the very object that LXD answers', () => {
    expect(renderInstanceFull(row, base, true)).toEqual(sample);
  });

  it('leaves state, snapshots and backups out of the plain object', () => {
    const { state: _state, snapshots: _snapshots, backups: _backups, ...plain } = sample;
    expect(renderInstance(row, base, true)).toEqual(plain);
  });

  it('says 1970 for an instance that was never started', () => {
    expect(renderInstance({ ...row, lastUsedAt: null }, base, true).last_used_at).toBe('1970-01-01T00:00:00Z');
  });

  it('shows zeros and no network for what was never reported', () => {
    expect(renderState('Stopped', null)).toEqual({
      status: 'Stopped',
      status_code: 102,
      disk: {},
      memory: { usage: 0, usage_peak: 0, swap_usage: 0, swap_usage_peak: 0 },
      network: null,
      pid: 0,
      processes: 0,
      cpu: { usage: 0 },
    });
  });

  it('lets the instance win over profiles, a later profile over an earlier, and none mask a device', () => {
    const later = { ...layer, name: 'later', config: { 'limits.cpu': '2', 'user.a': 'later' }, devices: {} };
    const first = { ...layer, config: { 'limits.cpu': '1', 'user.b': 'first' } };
    const own = { ...row, config: { 'user.a': 'own' }, devices: { eth0: { type: 'none' } } };
    const instance = renderInstance(own, mergeProfiles([first, later]), true);
    expect(instance.expanded_config).toEqual({ 'limits.cpu': '2', 'user.a': 'own', 'user.b': 'first' });
    expect(instance.expanded_devices).toEqual({ root: layer.devices.root });
    expect(instance.devices).toEqual({ eth0: { type: 'none' } });
  });

  it('renders 100 instances with state in a few milliseconds', () => {
    const rows = Array.from({ length: 100 }, (_, i) => ({ ...row, id: `id${i}`, name: `c${i}` }));
    const list = {
      rows,
      profiles: [layer],
      members: [{ name: 'node1', online: true, architecture: 'x86_64' }],
      projects: [],
    };
    const render = () => JSON.stringify(renderList(list, [], { recursion: 2, prefix: 'instances' }));
    render();
    const times = Array.from({ length: 20 }, () => {
      const started = performance.now();
      render();
      return performance.now() - started;
    });
    // The best of twenty: the machine does other things meanwhile.
    expect(Math.min(...times)).toBeLessThan(10);
  });
});
