/** LXD's guide, by preseed (walk-throughs D and B 2), with its files as published, and the stock `lxd init` (lxd-api 8.4). */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EmptyCluster, startEmptyCluster } from '#test/harness/empty-cluster.ts';
import { table, waitFor } from '../support.ts';

let bare: EmptyCluster;
beforeAll(async () => {
  bare = await startEmptyCluster();
  await Promise.all([1, 2, 3, 4].map((number) => bare.boot(number)));
});
afterAll(() => bare.stop());

/** The guide's file; only addresses and the certificate are this cluster's. */
function guide(name: string): string {
  const certificate = bare.certificate.trim().replaceAll('\n', '\n\n');
  return readFileSync(`test/fixtures/preseed/${name}.yaml`, 'utf8')
    .replace('10.55.60.171:8443', bare.address)
    .replace(/-----BEGIN[\s\S]*END CERTIFICATE-----/, certificate);
}

const members = async () => table((await bare.lxc('cluster', 'list')).stdout).rows.map((row) => row[0]);
const untilOnline = (name: string) =>
  waitFor(`${name} to be online`, async () => {
    const { rows } = table((await bare.lxc('cluster', 'list')).stdout);
    return rows.some((row) => row[0] === name && row.includes('ONLINE')) ? true : undefined;
  });
const form = (input: string) =>
  bare.longshore(1, ['init', '--preseed', '--no-service', '--token', bare.bootstrapToken()], { input });
const join = (number: number, input: string) =>
  bare.longshore(number, ['join', '--preseed', '--no-service'], { input });
/** What a try could leave: files of the membership, pools, interfaces. */
const LOOK = 'find /etc/longshore /var/lib/longshore/storage-pools -mindepth 1 2>/dev/null; ls /sys/class/net';
const kept = async (number: number) => (await bare.exec(number, ['sh', '-c', LOOK])).stdout;

describe('the bootstrap preseed', () => {
  it.each([
    ['broken YAML', (text: string) => text.replace('storage_pools:', 'storage_pools: ['), 'line'],
    ['an unknown key', (text: string) => text.replace('driver: dir', 'drivers: dir'), 'storage_pools[0].drivers'],
    [
      'a wrong type',
      (text: string) => text.replace(/networks:\n[\s\S]*?profiles/, 'networks: lxdbr0\nprofiles'),
      'networks',
    ],
    ['a pool that is missing', (text: string) => text.replace('pool: default', 'pool: nope'), 'no storage pool "nope"'],
  ])('with %s is refused by its line or path, and nothing was changed', async (_what, spoil, where) => {
    const before = await kept(1);
    const { code, stderr } = await form(spoil(guide('bootstrap')));
    expect(code).toBe(1);
    expect(stderr).toContain(where);
    expect(await members()).toEqual([]);
    expect(await kept(1)).toBe(before);
  });

  it('takes back what was made when its last step fails, and leaves the cluster', async () => {
    const before = await kept(1);
    const { code, stderr } = await form(guide('bootstrap').replace('nictype: bridged', 'nictype: sriov'));
    expect(code).toBe(1);
    expect(stderr).toContain('sriov');
    expect(await members()).toEqual([]);
    expect((await bare.lxc('storage', 'list', '--format', 'csv')).stdout).toBe('');
    expect((await bare.lxc('config', 'show')).stdout).not.toContain('trust_password');
    expect(await kept(1)).toBe(before);
  });

  it('forms the cluster as it stands, and explains what has no effect', async () => {
    const { code, stderr } = await form(guide('bootstrap'));
    expect(code, stderr).toBe(0);
    expect(stderr).toContain('Note: config.core.https_address');
    bare.startAgent(1);
    await untilOnline('node1');
    expect((await bare.lxc('network', 'get', 'lxdbr0', 'ipv4.address')).stdout.trim()).toBe('192.168.100.14/24');
    expect((await bare.lxc('config', 'get', 'images.auto_update_interval')).stdout.trim()).toBe('15');
    const cluster = JSON.parse((await bare.lxc('query', '/1.0/cluster')).stdout);
    expect(cluster.member_config).toContainEqual({
      entity: 'storage-pool',
      name: 'default',
      key: 'source',
      value: '',
      description: '"source" property for storage pool "default"',
    });
  });

  it('can be applied again, and is what --dump prints', async () => {
    const again = await form(guide('bootstrap'));
    expect(again.code, again.stderr).toBe(0);
    const { stdout } = await bare.longshore(1, ['init', '--dump']);
    expect(stdout).toContain('ipv4.address: 192.168.100.14/24');
    const applied = await bare.longshore(1, ['init', '--preseed'], { input: stdout });
    expect(applied.code, applied.stderr).toBe(0);
  });
});

describe('the joining preseed', () => {
  it('is refused with another certificate or a wrong password, and nothing was changed', async () => {
    const before = await kept(2);
    const wrong = await join(2, guide('join-4.0').replace('sekret', 'guess'));
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('not authorized')]);
    const spoilt = readFileSync('test/fixtures/preseed/join-4.0.yaml', 'utf8').replace(
      '10.55.60.171:8443',
      bare.address,
    );
    const other = await join(2, spoilt);
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('cluster.cluster_certificate')]);
    expect(await members()).toEqual(['node1']);
    expect(await kept(2)).toBe(before);
  });

  it.each([
    [2, 'join-4.0', 'node2'],
    [3, 'join-3.0', 'node3'],
  ])('on host %i in the form of %s', async (number, form_, name) => {
    const { code, stderr } = await join(number, guide(form_).replace('server_name: node2', `server_name: ${name}`));
    expect(code, stderr).toBe(0);
    if (form_ === 'join-3.0') expect(stderr).toContain('Note: profiles');
    bare.startAgent(number);
    await untilOnline(name);
  });
});

describe('the stock lxd init', () => {
  it('joins by a preseed with nothing but a token, through the local socket of an agent that waits', async () => {
    bare.startAgent(4);
    await waitFor('the local socket', async () =>
      (await bare.exec(4, ['lxc', 'query', '/1.0/cluster'])).code === 0 ? true : undefined,
    );
    const added = await bare.lxc('cluster', 'add', 'node4');
    const token = added.stdout.trim().split('\n').at(-1) ?? '';
    const input = guide('join-token').replace(/cluster_token: .*/, `cluster_token: ${token}`);
    const { code, stderr } = await bare.exec(4, ['lxd', 'init', '--preseed'], { input });
    expect(code, stderr).toBe(0);
    await untilOnline('node4');
    expect(await members()).toEqual(['node1', 'node2', 'node3', 'node4']);
    await waitFor('the member’s own API', async () =>
      (await bare.exec(4, ['lxc', 'cluster', 'list'])).stdout.includes('node4') ? true : undefined,
    );
  });
});
