import { describe, expect, it } from 'vitest';
import { parseMetrics, type Scrape } from '#test/harness/metrics-text.ts';
import { metricsRoutes } from '#worker/http/routes/metrics.ts';
import type { MemberMetrics } from '#worker/objects/contract.ts';
import { certificates, projects, serverConfig, warnings } from '#worker/state/schema.ts';
import { figuresOf } from '../objects/figures.ts';
import { addCommand, addInstance, addMember, addOperation, createParams, T0 } from '../state/helpers.ts';
import { type Api, type Client, makeClient, openApi, trust } from './api.ts';

/** Two members with an instance each, in two projects; a third member that is away and had one, too. */
async function open(samples: Partial<Record<string, MemberMetrics['instances']>> = {}) {
  const api = await openApi(metricsRoutes);
  await api.db.insert(projects).values({ name: 'other', config: {} });
  for (const name of ['m1', 'm2', 'm3']) await addMember(api.db, name, { online: name !== 'm3' });
  await addInstance(api.db, 'c1', { status: 'Running' });
  await addInstance(api.db, 'c2', { id: 'id-2', member: 'm2', project: 'other', status: 'Running' });
  await addInstance(api.db, 'c3', { id: 'id-3', member: 'm3', status: 'Running' });
  const told = {
    m1: [figuresOf('c1')],
    m2: [figuresOf('c2', { project: 'other' })],
    ...samples,
  };
  const { links } = api.ctx.objects;
  links.presence = async () => ['m1', 'm2'].map((member) => ({ member, online: true, load: null }));
  links.metrics = async (members) => ({
    samples: Object.entries(told).flatMap(([member, instances]) =>
      members === null || members.includes(member)
        ? [{ member, toldMs: Date.now() - 2_000, uptimeSeconds: 60, instances: instances ?? [] }]
        : [],
    ),
    times: [{ command: 'instance.create', ok: true, buckets: [1, 2, 3], count: 4, sumSeconds: 5 }],
  });
  return api;
}

async function scrape(api: Api, query = '', as?: Client | 'nobody'): Promise<Scrape> {
  const answer = await api.call('GET', `/1.0/metrics${query}`, as === undefined ? {} : { as });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
  return parseMetrics(answer.body);
}

const namesIn = ({ series }: Scrape) => [...new Set(series.flatMap(({ labels }) => labels.name ?? []))].sort();
const values = ({ series }: Scrape, name: string) =>
  Object.fromEntries(
    series.filter((one) => one.name === name).map(({ labels, value }) => [Object.values(labels).join(' '), value]),
  );

/** The names that LXD 5.0 documents. */
const LXD_NAMES = [
  ...['cpu_seconds_total', 'procs_total', 'cpu_effective_total'],
  ...['read_bytes', 'reads_completed', 'written_bytes', 'writes_completed'].map((name) => `disk_${name}_total`),
  ...['avail', 'free', 'size'].map((name) => `filesystem_${name}_bytes`),
  ...['Active_anon', 'Active_file', 'Active', 'Cached', 'Dirty', 'HugepagesFree', 'HugepagesTotal', 'Inactive_anon']
    .concat(['Inactive_file', 'Inactive', 'Mapped', 'MemAvailable', 'MemFree', 'MemTotal', 'RSS', 'Shmem', 'Swap'])
    .concat(['Unevictable', 'Writeback'])
    .map((name) => `memory_${name}_bytes`),
  'memory_OOM_kills_total',
  ...['receive', 'transmit'].flatMap((way) =>
    ['bytes', 'drop', 'errs', 'packets'].map((name) => `network_${way}_${name}_total`),
  ),
  ...['operations_total', 'warnings_total', 'uptime_seconds'],
].map((name) => `lxd_${name}`);

describe('metrics', () => {
  it('have all names of LXD, and the instances of every member in one answer', async () => {
    const seen = await scrape(await open());
    expect([...seen.types.keys()].filter((name) => name.startsWith('lxd_')).sort()).toEqual([...LXD_NAMES].sort());
    expect(namesIn(seen)).toEqual(['c1', 'c2']);
    expect(seen.series).toContainEqual({
      name: 'lxd_cpu_seconds_total',
      labels: { cpu: '0', mode: 'user', name: 'c1', project: 'default', type: 'container' },
      value: 1.5,
    });
    expect(values(seen, 'lxd_memory_MemAvailable_bytes')).toEqual({
      'c1 default container': 900,
      'c2 other container': 900,
    });
    expect(seen.series.find(({ name }) => name === 'lxd_filesystem_size_bytes')).toMatchObject({
      labels: { device: 'tank/c1', fstype: 'zfs', mountpoint: '/' },
      value: 30,
    });
    const network = { receive_bytes: 1, receive_packets: 2, receive_errs: 3, receive_drop: 4, transmit_bytes: 5 };
    for (const [name, value] of Object.entries({
      ...network,
      transmit_packets: 6,
      transmit_errs: 7,
      transmit_drop: 8,
    })) {
      expect(seen.series.find((one) => one.name === `lxd_network_${name}_total`)?.value).toBe(value);
    }
  });

  it('say of every member whether it is there', async () => {
    const seen = await scrape(await open());
    expect(values(seen, 'longshore_member_up')).toEqual({ m1: 1, m2: 1, m3: 0 });
    expect(values(seen, 'longshore_members')).toEqual({ Online: 2, Offline: 1, Evacuated: 0, Blocked: 0 });
    expect(values(seen, 'longshore_member_sample_age_seconds').m1).toBeGreaterThanOrEqual(2);
    expect(values(seen, 'lxd_uptime_seconds')).toEqual({ m1: 60, m2: 60 });
  });

  it('take from a member nothing but its own instances', async () => {
    const seen = await scrape(await open({ m2: [figuresOf('c1', { processes: 999 }), figuresOf('made up')] }));
    expect(namesIn(seen)).toEqual(['c1']);
    expect(values(seen, 'lxd_procs_total')).toEqual({ 'c1 default container': 5 });
  });

  it('keep hostile labels between their quotes', async () => {
    const device = 'eth0"} 1\nlxd_fake{name="\\';
    const seen = await scrape(await open({ m1: [figuresOf('c1', { networks: [[device, 1, 2, 3, 4, 5, 6, 7, 8]] })] }));
    const [first] = seen.series.filter(({ name, labels }) => name.startsWith('lxd_network') && labels.name === 'c1');
    expect(first?.labels.device).toBe(device);
    expect(seen.types.has('lxd_fake')).toBe(false);
  });

  it('count what runs, waits and is wrong in the control plane', async () => {
    const api = await open();
    await addOperation(api.db, 'op');
    await addCommand(
      api.db,
      { id: 'x', name: 'instance.create', params: createParams('c1', true) },
      { operationId: 'op' },
    );
    const warning = { type: 'Offline cluster member', severity: 'low', status: 'new', lastMessage: '' } as const;
    const at = { firstSeenAt: T0, lastSeenAt: T0 };
    await api.db.insert(warnings).values([
      { id: 'w1', dedupeKey: '1', ...warning, ...at },
      { id: 'w2', dedupeKey: '2', ...warning, ...at, status: 'resolved' },
    ]);
    const seen = await scrape(api);
    expect(values(seen, 'lxd_operations_total')).toEqual({ '': 1 });
    expect(values(seen, 'lxd_warnings_total')).toEqual({ '': 1 });
    expect(values(seen, 'longshore_commands')).toEqual({ waiting: 1 });
    expect(values(seen, 'longshore_commands_waiting')).toEqual({ m1: 1 });
    expect(values(seen, 'longshore_commands_waiting_oldest_seconds').m1).toBeGreaterThan(0);
    expect(values(seen, 'longshore_webhooks_waiting')).toEqual({ '': 0 });
    expect(values(seen, 'longshore_instances')).toEqual({ 'm1 Running': 1, 'm2 Running': 1, 'm3 Running': 1 });
    expect(values(seen, 'longshore_command_duration_seconds_count')).toEqual({ 'instance.create success': 4 });
    expect(values(seen, 'longshore_command_duration_seconds_sum')).toEqual({ 'instance.create success': 5 });
  });

  it('are those of one project or one member on request', async () => {
    const api = await open();
    expect(namesIn(await scrape(api, '?project=other'))).toEqual(['c2']);
    expect(namesIn(await scrape(api, '?project=default'))).toEqual(['c1']);
    const own = await scrape(api, '?target=m2');
    expect(namesIn(own)).toEqual(['c2']);
    expect(values(own, 'longshore_member_up')).toEqual({ m2: 1 });
    expect(own.types.has('longshore_commands')).toBe(false);
    for (const query of ['project=nobody', 'target=nobody']) {
      expect((await api.call('GET', `/1.0/metrics?${query}`)).status).toBe(404);
    }
  });
});

describe('who may read metrics', () => {
  it.each(['metrics', 'client'] as const)('a certificate of type %s, all of them', async (type) => {
    const api = await open();
    const client = await makeClient(`${type}@host`);
    await trust(api.db, client, { type });
    const seen = await scrape(api, '', client);
    expect(namesIn(seen)).toEqual(['c1', 'c2']);
    expect(seen.types.has('longshore_members')).toBe(true);
  });

  it.each(['metrics', 'client'] as const)('a restricted certificate of type %s, its projects', async (type) => {
    const api = await open();
    const client = await makeClient(`${type}@host`);
    await trust(api.db, client, { type, restricted: true, projects: ['other'] });
    for (const query of ['', '?project=other']) {
      const seen = await scrape(api, query, client);
      expect(namesIn(seen)).toEqual(['c2']);
      expect(seen.series.filter(({ name }) => name.startsWith('longshore_') || name === 'lxd_uptime_seconds')).toEqual(
        [],
      );
    }
    expect((await api.call('GET', '/1.0/metrics?project=default', { as: client })).status).toBe(403);
    // Not even whether it is there.
    expect((await api.call('GET', '/1.0/metrics?project=nobody', { as: client })).status).toBe(403);
  });

  it('nobody else, unless an administrator has opened them', async () => {
    const api = await open();
    const stranger = await makeClient('stranger@host');
    const asked = async () =>
      Promise.all(
        [stranger, 'nobody' as const].map(async (as) => (await api.call('GET', '/1.0/metrics', { as })).status),
      );
    expect(await asked()).toEqual([403, 403]);
    await api.db.insert(serverConfig).values({ key: 'core.metrics_authentication', value: 'false' });
    expect(await asked()).toEqual([200, 200]);
    await api.db.update(serverConfig).set({ value: 'true' });
    expect(await asked()).toEqual([403, 403]);
  });

  it('a revoked metrics certificate no more', async () => {
    const api = await open();
    const client = await makeClient('metrics@host');
    await trust(api.db, client, { type: 'metrics' });
    await scrape(api, '', client);
    await api.db.delete(certificates);
    expect((await api.call('GET', '/1.0/metrics', { as: client })).status).toBe(403);
  });
});
