import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { automaticPreseed } from '#agent/init/automatic.ts';
import { parsePreseed, renderPreseed } from '#agent/init/preseed.ts';
import { runWizard, type Wanted, type WizardFacts } from '#agent/init/wizard.ts';
import { openTerminal } from '#agent/prompt/terminal.ts';

const token = (name: string) =>
  Buffer.from(
    JSON.stringify({
      server_name: name,
      fingerprint: 'a'.repeat(64),
      addresses: ['10.0.0.1:8443'],
      secret: 'b'.repeat(64),
      expires_at: '0001-01-01T00:00:00Z',
    }),
  ).toString('base64');

const FACTS: WizardFacts = {
  hostname: 'node1',
  address: '10.0.0.11',
  storageDrivers: ['zfs', 'btrfs', 'dir'],
  backingFileSystem: '',
  diskBytes: 500 * 2 ** 30,
  dataDir: '/var/lib/longshore',
  pools: new Set(),
  networks: new Set(['lxdbr0']),
  findInterface: (name) => (name === 'br0' ? 'bridge' : name === 'eth0' ? 'other' : null),
  isBlockDevice: (path) => path === '/dev/vdb',
  joined: false,
  token: token(''),
};

/** Types the answers; resolves to what is wanted and what was on the screen. */
async function type(answers: string[], facts: Partial<WizardFacts> = {}): Promise<{ wanted: Wanted; screen: string }> {
  const [input, output] = [new PassThrough(), new PassThrough()];
  let screen = '';
  output.on('data', (chunk) => {
    screen += String(chunk);
  });
  input.end(`${answers.join('\n')}\n`);
  const wanted = await runWizard(openTerminal(input, output), { ...FACTS, ...facts });
  return { wanted, screen };
}

describe('the dialogue', () => {
  it('asks for a first member in LXD’s words and order', async () => {
    const answers = [
      'yes',
      '',
      'no',
      '',
      'yes',
      'sekret',
      'sekret',
      'yes',
      'zfs',
      'yes',
      'no',
      '50GB',
      'no',
      'no',
      'yes',
      'lxdbr0',
      'yes',
    ];
    const { wanted, screen } = await type(answers);
    const asked = [
      'Would you like to use LXD clustering? (yes/no) [default=no]: ',
      'What IP address or DNS name should be used to reach this server? [default=10.0.0.11]: ',
      'Are you joining an existing cluster? (yes/no) [default=no]: ',
      'What member name should be used to identify this server in the cluster? [default=node1]: ',
      'Setup password authentication on the cluster? (yes/no) [default=no]: ',
      'Trust password for new clients: ',
      'Again: ',
      'Do you want to configure a new local storage pool? (yes/no) [default=yes]: ',
      'Name of the storage backend to use (btrfs, dir, zfs) [default=zfs]: ',
      'Create a new ZFS pool? (yes/no) [default=yes]: ',
      'Would you like to use an existing empty block device (e.g. a disk or partition)? (yes/no) [default=no]: ',
      'Size in GiB of the new loop device (1GiB minimum) [default=30GiB]: ',
      'Do you want to configure a new remote storage pool? (yes/no) [default=no]: ',
      'Would you like to connect to a MAAS server? (yes/no) [default=no]: ',
      'Would you like to configure LXD to use an existing bridge or host interface? (yes/no) [default=no]: ',
      'Name of the existing bridge or host interface: ',
      'Would you like stale cached images to be updated automatically? (yes/no) [default=yes]: ',
    ];
    expect(screen).toBe(asked.join(''));
    expect(wanted).toMatchObject({ kind: 'form', serverName: 'node1' });
    expect(parsePreseed(renderPreseed(wanted.preseed))).toEqual(wanted.preseed);
    expect(wanted.preseed).toMatchObject({
      config: { 'core.https_address': '10.0.0.11:8443', 'core.trust_password': 'sekret' },
      storage_pools: [{ name: 'local', driver: 'zfs', config: { size: '50GB' } }],
      networks: [],
      profiles: [
        {
          devices: {
            root: { path: '/', pool: 'local', type: 'disk' },
            eth0: { name: 'eth0', nictype: 'bridged', parent: 'lxdbr0', type: 'nic' },
          },
        },
      ],
    });
  });

  it('takes a block device, an existing pool, a directory', async () => {
    const start = ['yes', '', 'no', '', 'no', 'yes'];
    const end = ['no', 'no', 'no', 'no', 'yes'];
    const device = await type([...start, 'zfs', 'yes', 'yes', '/dev/nope', '/dev/vdb', ...end]);
    expect(device.wanted.preseed.storage_pools[0]?.config).toEqual({ source: '/dev/vdb' });
    expect(device.screen).toContain('Invalid input: "/dev/nope" is not a block device');
    const existing = await type([...start, 'zfs', 'no', 'tank/lxd', ...end]);
    expect(existing.wanted.preseed.storage_pools[0]?.config).toEqual({ source: 'tank/lxd' });
    const dir = await type([...start, 'dir', ...end]);
    expect(dir.wanted.preseed.storage_pools[0]).toMatchObject({ driver: 'dir', config: {} });
  });

  it('makes a bridge, with NAT asked for an address of one’s own', async () => {
    const { wanted } = await type([
      'no',
      'no',
      'no',
      'yes',
      'lxdbr0',
      'br1',
      '10.1.2.3',
      '10.1.2.1/24',
      'yes',
      'none',
      'no',
      'no',
    ]);
    expect(wanted.preseed.networks).toMatchObject([
      { name: 'br1', config: { 'ipv4.address': '10.1.2.1/24', 'ipv4.nat': 'true', 'ipv6.address': 'none' } },
    ]);
    expect(wanted.preseed.config).toEqual({ 'images.auto_update_interval': '0' });
    expect(wanted).toMatchObject({ kind: 'form', serverName: 'node1' });
  });

  it('asks again for an interface that is not there or no bridge', async () => {
    const answers = ['yes', '', 'no', '', 'no', 'no', 'no', 'no', 'yes', 'nope', 'eth0', 'br0', 'yes'];
    const { wanted, screen } = await type(answers);
    expect(screen).toContain("The requested interface doesn't exist. Please choose another one.");
    expect(screen).toContain('is no bridge');
    expect(wanted.preseed.profiles[0]?.devices.eth0?.parent).toBe('br0');
  });

  it('joins by a token, and asks nothing that the token answers', async () => {
    const { wanted, screen } = await type(['yes', '', 'yes', token('node7'), 'yes']);
    expect(wanted).toMatchObject({ kind: 'join', right: { kind: 'token', token: token('node7') } });
    expect(screen).not.toContain('What member name');
    expect(screen).toContain('All existing data is lost when joining a cluster, continue? (yes/no) [default=no] ');
    expect(screen).toContain('What is on this host stays');
  });

  it('stops when the person does not want to go on, or the input ends', async () => {
    await expect(type(['yes', '', 'yes', token('node7'), 'no'])).rejects.toThrow('User aborted configuration');
    await expect(type(['yes'])).rejects.toThrow('input ended');
  });

  it('asks for the control plane’s token when none was found', async () => {
    const { wanted } = await type(
      ['yes', '', 'no', '', 'garbage', token(''), 'no', 'no', 'no', 'no', 'no', 'no', 'yes'],
      {
        token: null,
      },
    );
    expect(wanted).toMatchObject({ kind: 'form', token: token('') });
  });
});

describe('without questions', () => {
  it('makes one pool and one bridge, or uses what is there', () => {
    expect(automaticPreseed({}, { pools: [], networks: [] })).toMatchObject({
      storage_pools: [{ name: 'default', driver: 'dir' }],
      networks: [{ name: 'lxdbr0' }],
    });
    const there = automaticPreseed({}, { pools: ['local'], networks: ['br0'] });
    expect(there).toMatchObject({ storage_pools: [], networks: [] });
    expect(there.profiles[0]?.devices).toMatchObject({ root: { pool: 'local' }, eth0: { network: 'br0' } });
  });

  it.each([
    [{ storageBackend: 'lvm' }, "isn't supported"],
    [{ storageCreateLoop: '5' }, "'dir' backend"],
    [{ storageBackend: 'zfs', storageCreateLoop: '5', storageCreateDevice: '/dev/vdb' }, 'Only one of'],
    [{ storageBackend: 'zfs', storageCreateLoop: '-1' }, 'must be a size'],
    [{ networkPort: '8443' }, 'only be used with'],
  ])('%j is refused', (options, reason) => {
    expect(() => automaticPreseed(options, { pools: [], networks: [] })).toThrow(reason);
  });
});
