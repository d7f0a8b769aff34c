import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseMetrics, type Scrape } from '#test/harness/metrics-text.ts';
import { get, type Identity, makeIdentity } from './raw.ts';
import { cluster, lxc, newName, newNames, removeInstances, waitFor } from './support.ts';

const HOSTS = ['host1', 'host2', 'host3'];
const names = newNames('metric', HOSTS.length);
const project = newName('metric-project');
const directory = mkdtempSync(join(tmpdir(), 'longshore-metrics-'));

async function scrape(identity: Identity | null, query = ''): Promise<Scrape> {
  const { status, headers, text } = await get(`/1.0/metrics${query}`, identity);
  expect({ status, text: status === 200 ? '' : text }).toEqual({ status: 200, text: '' });
  expect(headers['content-type']).toMatch(/^text\/plain/);
  return parseMetrics(text);
}

const find = (from: Scrape, name: string, labels: Record<string, string>) =>
  from.series.find(
    (one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  )?.value;
const instancesIn = (from: Scrape) => new Set(from.series.flatMap(({ labels }) => labels.name ?? []));

let prometheus: Identity;

beforeAll(async () => {
  const made = await makeIdentity(directory, 'prometheus');
  prometheus = made;
  expect(await lxc('config', 'trust', 'add', made.file, '--type', 'metrics', '--name', 'prometheus')).toMatchObject({
    code: 0,
  });
  for (const [index, name] of names.entries()) {
    expect(await lxc('launch', 'tiny', name, '--target', HOSTS[index] ?? '')).toMatchObject({ code: 0 });
  }
});
afterAll(async () => {
  await lxc('config', 'unset', 'core.metrics_authentication');
  await removeInstances(names);
  await lxc('project', 'delete', project);
  const { stdout } = await lxc('config', 'trust', 'list', '-f', 'csv');
  for (const line of stdout.split('\n').filter((row) => /^metrics,prometheus/.test(row))) {
    await lxc('config', 'trust', 'remove', line.split(',')[3] ?? '');
  }
  rmSync(directory, { recursive: true, force: true });
});

describe('one scrape with a metrics certificate', () => {
  it('has the instances of all three hosts, at the first look', async () => {
    const found = await waitFor('samples of all hosts', async () => {
      const seen = await scrape(prometheus);
      return names.every((name) => instancesIn(seen).has(name)) ? seen : undefined;
    });
    for (const [index, name] of names.entries()) {
      const own = { name, project: 'default', type: 'container' };
      expect(find(found, 'lxd_memory_RSS_bytes', own)).toBeGreaterThanOrEqual(0);
      expect(find(found, 'lxd_memory_MemTotal_bytes', own)).toBeGreaterThan(2 ** 20);
      expect(find(found, 'lxd_cpu_seconds_total', { ...own, mode: 'user' })).toBeGreaterThanOrEqual(0);
      expect(find(found, 'lxd_cpu_effective_total', own)).toBeGreaterThan(0);
      expect(find(found, 'lxd_filesystem_size_bytes', { ...own, mountpoint: '/' })).toBeGreaterThan(2 ** 20);
      expect(find(found, 'lxd_network_transmit_packets_total', { ...own, device: 'eth0' })).toBeGreaterThanOrEqual(0);
      expect(find(found, 'lxd_procs_total', own)).toBeGreaterThan(0);
      expect(find(found, 'longshore_member_up', { member: HOSTS[index] ?? '' })).toBe(1);
      expect(find(found, 'lxd_uptime_seconds', { member: HOSTS[index] ?? '' })).toBeGreaterThan(0);
    }
    expect(find(found, 'longshore_members', { status: 'Online' })).toBeGreaterThanOrEqual(3);
    expect(find(found, 'longshore_commands', { status: 'done' })).toBeGreaterThan(0);
    expect(find(found, 'longshore_command_duration_seconds_count', { command: 'instance.create' })).toBeGreaterThan(0);
    expect(found.types.get('lxd_cpu_seconds_total')).toBe('counter');
    expect(found.types.get('lxd_procs_total')).toBe('gauge');
  });

  it('shows values that move', async () => {
    const [name = ''] = names;
    const read = async (metric: string, labels: Record<string, string> = {}) =>
      find(await scrape(prometheus), metric, { name, ...labels }) ?? 0;
    const [sent, processes] = [
      await read('lxd_network_receive_bytes_total', { device: 'lo' }),
      await read('lxd_procs_total'),
    ];
    const busy = 'ping -c 3 127.0.0.1 >/dev/null; sleep 120 & sleep 120 & sleep 120 & exit 0';
    expect(await lxc('exec', name, '--', 'sh', '-c', busy)).toMatchObject({ code: 0 });
    await waitFor('another sample', async () => {
      const isMore = (await read('lxd_network_receive_bytes_total', { device: 'lo' })) > sent;
      return (isMore && (await read('lxd_procs_total')) > processes) || undefined;
    });
  });

  it('leaves out an instance that has stopped', async () => {
    const [, name = ''] = names;
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
    await waitFor('it to go', async () => !instancesIn(await scrape(prometheus)).has(name) || undefined);
    expect(find(await scrape(prometheus), 'longshore_instances', { status: 'Stopped' })).toBeGreaterThan(0);
  });

  it('shows one project or one member when it is asked to', async () => {
    await lxc('project', 'create', project);
    const empty = await scrape(prometheus, `?project=${project}`);
    expect(instancesIn(empty)).toEqual(new Set());
    const own = await scrape(prometheus, '?target=host1');
    expect([...instancesIn(own)].filter((name) => names.includes(name))).toEqual([names[0]]);
    expect((await get('/1.0/metrics?target=nobody', prometheus)).status).toBe(404);
    expect((await get('/1.0/metrics?project=nobody', prometheus)).status).toBe(404);
  });

  it('opens nothing else', async () => {
    for (const path of ['/1.0/instances', '/1.0/cluster/members', '/1.0/certificates']) {
      expect((await get(path, prometheus)).status).toBe(403);
    }
    expect(JSON.parse((await get('/1.0', prometheus)).text).metadata).toMatchObject({ auth: 'untrusted' });
  });
});

it('shows a restricted certificate its projects and nothing of the hosts', async () => {
  const made = await makeIdentity(directory, 'prometheus-restricted');
  const restriction = ['--restricted', '--projects', project];
  expect(
    await lxc('config', 'trust', 'add', made.file, '--type', 'metrics', '--name', 'prometheus-r', ...restriction),
  ).toMatchObject({ code: 0 });
  const seen = await scrape(made);
  expect(instancesIn(seen)).toEqual(new Set());
  expect(seen.series.filter(({ labels }) => 'member' in labels)).toEqual([]);
  expect((await get('/1.0/metrics?project=default', made)).status).toBe(403);
});

it('lets nobody in without a certificate, until core.metrics_authentication is false', async () => {
  expect((await get('/1.0/metrics', null)).status).toBe(403);
  expect(await lxc('config', 'set', 'core.metrics_authentication', 'false')).toMatchObject({ code: 0 });
  expect(find(await scrape(null), 'longshore_member_up', { member: 'host1' })).toBe(1);
  expect(await lxc('config', 'unset', 'core.metrics_authentication')).toMatchObject({ code: 0 });
  expect((await get('/1.0/metrics', null)).status).toBe(403);
});

it('answers the stock client', async () => {
  const { stdout, code } = await lxc('query', '/1.0/metrics');
  expect(code).toBe(0);
  expect(stdout).toContain('# TYPE lxd_cpu_seconds_total counter');
});

it('says of a member that is away that it is, and shows none of its instances', async () => {
  const [, , name = ''] = names;
  await cluster.host(3).killAgent();
  try {
    await waitFor('host3 to be away', async () => {
      const seen = await scrape(prometheus);
      return (
        (find(seen, 'longshore_member_up', { member: 'host3' }) === 0 && !instancesIn(seen).has(name)) || undefined
      );
    });
    expect(instancesIn(await scrape(prometheus)).has(names[0] ?? '')).toBe(true);
  } finally {
    await cluster.host(3).startAgent();
  }
  await waitFor('host3 to be back', async () => instancesIn(await scrape(prometheus)).has(name) || undefined);
});
