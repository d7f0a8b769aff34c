/** The tutorials as they are typed: the stock `lxc` and `lxd init` on hosts whose agent waits for a membership (lxd-api 8.4). */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Dialogue, type EmptyCluster, startEmptyCluster } from '#test/harness/empty-cluster.ts';
import { table, waitFor } from '../support.ts';

let bare: EmptyCluster;
beforeAll(async () => {
  bare = await startEmptyCluster();
  await Promise.all([1, 2, 3].map((number) => bare.boot(number)));
  // What the administrator of the control plane hands to the first host.
  const keep = 'umask 077; cat >/etc/longshore/bootstrap.token';
  await bare.exec(1, ['sh', '-c', keep], { input: bare.bootstrapToken() });
  for (const number of [1, 2, 3]) bare.startAgent(number);
  await Promise.all([1, 2, 3].map(untilWaiting));
});
afterAll(() => bare.stop());

const untilWaiting = (number: number) =>
  waitFor(`the agent of host${number} to wait`, async () =>
    (await bare.exec(number, ['lxc', 'query', '/1.0/cluster'])).stdout.includes('"enabled": false') ? true : undefined,
  );
const untilOnline = (name: string) =>
  waitFor(`${name} to be online`, async () => {
    const { rows } = table((await bare.lxc('cluster', 'list')).stdout);
    return rows.some((row) => row[0] === name && row.includes('ONLINE')) ? true : undefined;
  });
const lxdInit = async (number: number, dialogue: Dialogue) => {
  const { screen, code } = await bare.type(number, ['lxd', 'init'], dialogue);
  expect(code, screen).toBe(0);
};

const START: Dialogue = [
  ['Would you like to use LXD clustering? (yes/no) [default=no]: ', 'yes'],
  [/What IP address or DNS name should be used to reach this server\? \[default=[\d.]+\]: /, ''],
];
const JOINING = 'Are you joining an existing cluster? (yes/no) [default=no]: ';
const NAME = /What member name should be used to identify this server in the cluster\? \[default=[\w-]+\]: /;
const PRINT = 'Would you like a YAML "lxd init" preseed to be printed? (yes/no) [default=no]: ';
const ADDRESS = 'IP address or FQDN of an existing cluster member (may include port): ';
const CORRECT = 'Is this the correct fingerprint? (yes/no/[fingerprint]) [default=no]: ';
const LOST = 'All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ';

it('forms on the first host, with the bridge that was made before anything else', async () => {
  const bridge = ['ipv6.address=none', 'ipv4.address=10.0.0.1/24', 'ipv4.nat=true'];
  const made = await bare.exec(1, ['lxc', 'network', 'create', 'lxdbr0', ...bridge]);
  expect(made.stdout, made.stderr).toContain('Network lxdbr0 created');
  await lxdInit(1, [
    ...START,
    [JOINING, 'no'],
    [NAME, 'host-01'],
    ['Setup password authentication on the cluster? (yes/no) [default=no]: ', 'yes'],
    ['Trust password for new clients: ', 'sekret'],
    ['Again: ', 'sekret'],
    ['Do you want to configure a new local storage pool? (yes/no) [default=yes]: ', 'yes'],
    [/Name of the storage backend to use \([^)]*\) \[default=\w+\]: /, 'dir'],
    ['Do you want to configure a new remote storage pool? (yes/no) [default=no]: ', 'no'],
    ['Would you like to connect to a MAAS server? (yes/no) [default=no]: ', 'no'],
    ['Would you like to configure LXD to use an existing bridge or host interface? (yes/no) [default=no]: ', 'no'],
    [/Would you like (to create a new Fan|stale cached)/, 'no'],
    [PRINT, 'no'],
  ]);
  await untilOnline('host-01');
  expect((await bare.lxc('network', 'get', 'lxdbr0', 'ipv4.address')).stdout.trim()).toBe('10.0.0.1/24');
  const pools = table((await bare.lxc('storage', 'list')).stdout);
  expect(pools.rows.map((row) => [row[0], row[1], row.at(-1)])).toEqual([['local', 'dir', 'CREATED']]);
  await waitFor('the API of the new member', async () =>
    (await bare.exec(1, ['lxc', 'cluster', 'list'])).stdout.includes('host-01') ? true : undefined,
  );
});

it('joins by trust password', async () => {
  await lxdInit(2, [
    ...START,
    [JOINING, 'yes'],
    ['Do you have a join token? (yes/no/[token]) [default=no]: ', 'no'],
    [NAME, 'host-02'],
    [ADDRESS, bare.address],
    [CORRECT, 'yes'],
    ['Cluster trust password: ', 'sekret'],
    [LOST, 'yes'],
    ['Choose "source" property for storage pool "local": ', ''],
    [PRINT, 'no'],
  ]);
  await untilOnline('host-02');
  // What lxd init was trusted by until the host had a key of its own is trusted no more.
  expect((await bare.lxc('config', 'trust', 'list')).stdout).not.toContain('server');
});

it('joins by token', async () => {
  const added = await bare.lxc('cluster', 'add', 'host-03');
  await lxdInit(3, [
    ...START,
    [JOINING, 'yes'],
    ['Do you have a join token? (yes/no/[token]) [default=no]: ', added.stdout.trim().split('\n').at(-1) ?? ''],
    [LOST, 'yes'],
    ['Choose "source" property for storage pool "local": ', ''],
    [PRINT, 'no'],
  ]);
  await untilOnline('host-03');
  expect((await bare.lxc('cluster', 'list-tokens', '--format', 'csv')).stdout).not.toContain('host-03');
});
