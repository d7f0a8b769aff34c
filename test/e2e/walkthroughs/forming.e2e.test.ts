/** LXD's guide, forming by the dialogue (walk-throughs A 1 to 5, B 1 and 2), typed at a terminal. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Dialogue, type EmptyCluster, startEmptyCluster } from '#test/harness/empty-cluster.ts';
import { table, waitFor } from '../support.ts';

let bare: EmptyCluster;
/** What the dialogue printed on the second host. */
let printed = '';
beforeAll(async () => {
  bare = await startEmptyCluster();
  await Promise.all([1, 2, 3, 4].map((number) => bare.boot(number)));
});
afterAll(() => bare.stop());

const CLUSTERING = 'Would you like to use LXD clustering? (yes/no) [default=no]: ';
const ADDRESS = /What IP address or DNS name should be used to reach this server\? \[default=[\d.]+\]: /;
const JOINING = 'Are you joining an existing cluster? (yes/no) [default=no]: ';
const NAME = /What member name should be used to identify this server in the cluster\? \[default=[\w-]+\]: /;
const CORRECT = 'Is this the correct fingerprint? (yes/no/[fingerprint]) [default=no]: ';
const PRINT = 'Would you like a YAML "lxd init" preseed to be printed? (yes/no) [default=no]: ';

const list = async () => table((await bare.lxc('cluster', 'list')).stdout);
const untilOnline = (name: string) =>
  waitFor(`${name} to be online`, async () => {
    const { rows } = await list();
    return rows.some((row) => row[0] === name && row.includes('ONLINE')) ? rows : undefined;
  });
const init = (number: number, dialogue: Dialogue, ...flags: string[]) =>
  bare.type(number, [...bare.program, 'init', '--no-service', ...flags], dialogue);

/** What `lxc info` on a member says. */
async function fingerprintOn(number: number): Promise<string> {
  const { stdout } = await bare.exec(number, ['lxc', 'info']);
  return /certificate_fingerprint: ([0-9a-f]{64})/.exec(stdout)?.[1] ?? '';
}

describe('the dialogue at a terminal', () => {
  it('forms a cluster on the first host, and prints a preseed that works', async () => {
    const dialogue: Dialogue = [
      [CLUSTERING, 'yes'],
      [ADDRESS, ''],
      [JOINING, 'no'],
      [NAME, 'a0-dc1-001'],
      ['Setup password authentication on the cluster? (yes/no) [default=no]: ', 'yes'],
      ['Trust password for new clients: ', 'sekret'],
      ['Again: ', 'sekret'],
      ['Do you want to configure a new local storage pool? (yes/no) [default=yes]: ', 'yes'],
      [/Name of the storage backend to use \(btrfs, dir, zfs\) \[default=\w+\]: /, 'btrfs'],
      ['Create a new BTRFS pool? (yes/no) [default=yes]: ', 'yes'],
      [
        'Would you like to use an existing empty block device (e.g. a disk or partition)? (yes/no) [default=no]: ',
        'no',
      ],
      [/Size in GiB of the new loop device \(1GiB minimum\) \[default=\d+GiB\]: /, '1'],
      ['Do you want to configure a new remote storage pool? (yes/no) [default=no]: ', 'no'],
      ['Would you like to connect to a MAAS server? (yes/no) [default=no]: ', 'no'],
      ['Would you like to configure LXD to use an existing bridge or host interface? (yes/no) [default=no]: ', 'no'],
      ['Would you like to create a new local network bridge? (yes/no) [default=yes]: ', 'yes'],
      ['What should the new bridge be called? [default=lxdbr0]: ', ''],
      [/What IPv4 address should be used\? .*\[default=auto\]: /, '10.0.0.1/24'],
      ['Would you like LXD to NAT IPv4 traffic on your bridge? [default=yes]: ', ''],
      [/What IPv6 address should be used\? .*\[default=auto\]: /, 'none'],
      ['Would you like stale cached images to be updated automatically? (yes/no) [default=yes]: ', ''],
      [PRINT, 'yes'],
    ];
    const { screen, code } = await init(1, dialogue, '--token', bare.bootstrapToken());
    expect(code, screen).toBe(0);
    // Not echoed: it stands only in the YAML that was asked for.
    expect(screen.split('config:')[0]).not.toContain('sekret');
    expect(screen).toContain('server_name: a0-dc1-001');
    bare.startAgent(1);
    await untilOnline('a0-dc1-001');

    // The agent that formed the cluster has gone, the host's own takes over.
    const here = await waitFor('the API on the host', async () => {
      const { stdout, code } = await bare.exec(1, ['lxc', 'cluster', 'list']);
      return code === 0 ? table(stdout) : undefined;
    });
    expect(here.header.slice(0, 2)).toEqual(['NAME', 'URL']);
    expect(here.rows).toHaveLength(1);
    const pools = table((await bare.lxc('storage', 'list')).stdout);
    expect(pools.rows.map((row) => [row[0], row[1], row.at(-1)])).toEqual([['local', 'btrfs', 'CREATED']]);
    const networks = table((await bare.lxc('network', 'list')).stdout);
    expect(networks.rows.find((row) => row[0] === 'lxdbr0')).toEqual(
      expect.arrayContaining(['bridge', 'YES', 'CREATED']),
    );
    const profile = (await bare.lxc('profile', 'show', 'default')).stdout;
    expect(profile).toContain('pool: local');
    expect((await bare.lxc('config', 'show')).stdout).toContain('core.trust_password: "true"');
  });

  it('refuses a wrong password, a wrong fingerprint and a taken name, and changes nothing', async () => {
    const start: Dialogue = [
      [CLUSTERING, 'yes'],
      [ADDRESS, ''],
      [JOINING, 'yes'],
      ['Do you have a join token? (yes/no/[token]) [default=no]: ', 'no'],
    ];
    const upTo = (name: string, password: string): Dialogue => [
      ...start,
      [NAME, name],
      ['IP address or FQDN of an existing cluster member (may include port): ', bare.address],
      [CORRECT, 'yes'],
      ['Cluster trust password: ', password],
      ['All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ', 'yes'],
    ];
    const wrong = await init(2, upTo('a0-dc1-002', 'guess'));
    expect([wrong.code, wrong.screen]).toEqual([1, expect.stringContaining('Error: not authorized')]);
    const taken = await init(2, upTo('a0-dc1-001', 'sekret'));
    expect([taken.code, taken.screen]).toEqual([
      1,
      expect.stringContaining('already has a member with name: a0-dc1-001'),
    ]);
    const doubted = await init(2, [...upTo('a0-dc1-002', 'x').slice(0, 6), [CORRECT, 'no']]);
    expect([doubted.code, doubted.screen]).toEqual([1, expect.stringContaining('User aborted configuration')]);
    expect((await bare.exec(2, ['ls', '/etc/longshore'])).stdout).toBe('');
    expect((await list()).rows).toHaveLength(1);
  });

  it('joins a second host by password, with the fingerprint that members show', async () => {
    const known = await fingerprintOn(1);
    const dialogue: Dialogue = [
      [CLUSTERING, 'yes'],
      [ADDRESS, ''],
      [JOINING, 'yes'],
      ['Do you have a join token? (yes/no/[token]) [default=no]: ', 'no'],
      [NAME, 'a0-dc1-002'],
      ['IP address or FQDN of an existing cluster member (may include port): ', bare.address],
      [CORRECT, known],
      ['Cluster trust password: ', 'sekret'],
      ['All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ', 'yes'],
      ['Choose "source" property for storage pool "local": ', ''],
      ['Choose "size" property for storage pool "local": ', '1GiB'],
      [PRINT, 'yes'],
    ];
    const { screen, code } = await init(2, dialogue);
    expect(code, screen).toBe(0);
    expect(screen).toContain(`Cluster fingerprint: ${known}`);
    expect(screen).toContain('server_name: a0-dc1-002');
    // Not echoed: it stands only in the YAML that was asked for.
    expect(screen.split('cluster:')[0]).not.toContain('sekret');
    printed = screen
      .slice(screen.lastIndexOf('\ncluster:'), screen.indexOf('\nThis host is now member'))
      .replaceAll('\r', '');
    bare.startAgent(2);
    expect(await untilOnline('a0-dc1-002')).toHaveLength(2);
  });

  it('joins a third by token, and all hosts see the same rows', async () => {
    const added = await bare.lxc('cluster', 'add', 'a0-dc1-003');
    const token = added.stdout.trim().split('\n').at(-1) ?? '';
    const { screen, code } = await init(3, [
      [CLUSTERING, 'yes'],
      [ADDRESS, ''],
      [JOINING, 'yes'],
      ['Do you have a join token? (yes/no/[token]) [default=no]: ', token],
      ['All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ', 'yes'],
      ['Choose "source" property for storage pool "local": ', ''],
      ['Choose "size" property for storage pool "local": ', '1GiB'],
      [PRINT, 'no'],
    ]);
    expect(code, screen).toBe(0);
    bare.startAgent(3);
    await untilOnline('a0-dc1-003');
    const names = async (number: number) =>
      table((await bare.exec(number, ['lxc', 'cluster', 'list'])).stdout).rows.map((row) => row[0]);
    const seen = await Promise.all([1, 2, 3].map(names));
    expect(seen).toEqual(Array(3).fill(['a0-dc1-001', 'a0-dc1-002', 'a0-dc1-003']));
    await waitFor('the pool on every member', async () => {
      const shown = await bare.lxc('storage', 'show', 'local');
      return shown.stdout.includes('status: Created') && shown.stdout.includes('a0-dc1-003') ? true : undefined;
    });
  });

  it('prints a preseed by which the next host joins, once its name is edited', async () => {
    const input = printed.replace('server_name: a0-dc1-002', 'server_name: a0-dc1-004');
    const { code, stderr } = await bare.longshore(4, ['join', '--preseed', '--no-service'], { input });
    expect(code, stderr).toBe(0);
    bare.startAgent(4);
    expect(await untilOnline('a0-dc1-004')).toHaveLength(4);
  });
});
