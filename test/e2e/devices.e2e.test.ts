import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, table } from './support.ts';

const name = newName('devices');
const network = `net${newName('').slice(1, 7)}`;
const members = ['host1', 'host2', 'host3'];

beforeAll(async () => {
  for (const member of members) {
    expect(await lxc('network', 'create', network, '--target', member)).toMatchObject({
      stdout: `Network ${network} pending on member ${member}\n`,
      code: 0,
    });
  }
  expect((await lxc('network', 'create', network, 'ipv6.address=none')).stdout).toBe(`Network ${network} created\n`);
  expect((await lxc('launch', 'tiny', name, '--target', 'host1')).code).toBe(0);
});
afterAll(async () => {
  await removeInstances([name]);
  await lxc('network', 'delete', network);
});

const device = (...args: string[]) => lxc('config', 'device', ...args);
const inside = async (script: string) => (await lxc('exec', name, '--', 'sh', '-c', script)).stdout;
const interfaces = async () => (await inside('ls /sys/class/net')).trim().split('\n').sort();

describe('a NIC added to a running instance', () => {
  it('is there at once with an address of its network, and after a restart, too', async () => {
    expect(await device('add', name, 'eth1', 'nic', `network=${network}`)).toEqual({
      stdout: `Device eth1 added to ${name}\n`,
      stderr: '',
      code: 0,
    });
    const prefix = await prefixOf(network);
    for (const restart of [false, true]) {
      if (restart) expect(await lxc('restart', '-f', name)).toMatchObject({ code: 0 });
      expect(await interfaces()).toEqual(['eth0', 'eth1', 'lo']);
      expect(await inside('ip -o -4 a show dev eth1')).toMatch(
        new RegExp(`inet ${prefix}\\.\\d+/24 brd ${prefix}\\.255 `),
      );
      expect(await inside('ip route | grep -c default')).toBe('1\n');
    }
    const leases = table((await lxc('network', 'list-leases', network)).stdout).rows;
    expect(leases.find((row) => row[0] === name)?.slice(3)).toEqual(['DYNAMIC', 'host1']);
  });

  it('takes its new name at once, and leaves nothing when it is removed', async () => {
    expect(await device('set', name, 'eth1', 'name=wan0')).toMatchObject({ code: 0 });
    expect(await interfaces()).toEqual(['eth0', 'lo', 'wan0']);
    expect(await device('unset', name, 'eth1', 'name')).toMatchObject({ code: 0 });
    expect(await interfaces()).toEqual(['eth0', 'eth1', 'lo']);
    expect((await device('remove', name, 'eth1')).stdout).toBe(`Device eth1 removed from ${name}\n`);
    expect(await interfaces()).toEqual(['eth0', 'lo']);
    expect(table((await lxc('network', 'list-leases', network)).stdout).rows.some((row) => row[0] === name)).toBe(
      false,
    );
    const [instance] = await instancesOf([name]);
    expect(Object.keys(instance?.config ?? {}).filter((key) => key.includes('eth1'))).toEqual([]);
  });

  it('is refused where LXD refuses it, and nothing is kept of it', async () => {
    for (const [options, refusal] of [
      [['network=lxdbr0'], `Failed add validation for device "x": Instance DNS name "${name}" already used on network`],
      [['nictype=bridged', 'parent=nobr'], 'Failed to start device "x": Parent device "nobr" doesn\'t exist'],
      [
        ['network=nope'],
        'Invalid devices: Device validation failed for "x": Failed loading device "x": Failed to load network "nope" for project "default": Network not found',
      ],
      [
        [`network=${network}`, 'mtu=1400'],
        'Invalid devices: Device validation failed for "x": Cannot use "mtu" property in conjunction with "network" property',
      ],
      [
        [`network=${network}`, 'hwaddr=banana'],
        'Invalid devices: Device validation failed for "x": Invalid value for device option "hwaddr": Invalid MAC address, must be 6 bytes of hex separated by colons',
      ],
    ] as const) {
      expect(await device('add', name, 'x', 'nic', ...options)).toEqual({
        stdout: '',
        stderr: `Error: ${refusal}\n`,
        code: 1,
      });
    }
    expect((await device('list', name)).stdout).toBe('\n');
    expect(await interfaces()).toEqual(['eth0', 'lo']);
  });
});

describe('a disk added to a running instance', () => {
  const source = '/var/lib/misc/shared';

  beforeAll(async () => {
    await cluster.host(1).exec(['mkdir', '-p', source]);
    await cluster.host(1).exec(['sh', '-c', `echo from the host > ${source}/hello`]);
  });

  it('is there at once, moves, becomes read-only and goes, and is there after a restart', async () => {
    expect((await device('add', name, 'data', 'disk', `source=${source}`, 'path=/mnt/data')).stdout).toBe(
      `Device data added to ${name}\n`,
    );
    expect(await inside('cat /mnt/data/hello')).toBe('from the host\n');
    await device('set', name, 'data', 'path=/mnt/other', 'readonly=true');
    expect(await inside('cat /mnt/other/hello; ls /mnt/data; touch /mnt/other/x 2>/dev/null || echo refused')).toBe(
      'from the host\nrefused\n',
    );
    await lxc('restart', '-f', name);
    expect(await inside('cat /mnt/other/hello')).toBe('from the host\n');
    await device('remove', name, 'data');
    expect(await inside('ls /mnt/other')).toBe('');
  });

  it('comes and goes with a profile', async () => {
    const profile = newName('disk');
    await lxc('profile', 'create', profile);
    await lxc('profile', 'device', 'add', profile, 'data', 'disk', `source=${source}`, 'path=/mnt/profile');
    expect(await lxc('profile', 'add', name, profile)).toMatchObject({ code: 0 });
    expect(await inside('cat /mnt/profile/hello')).toBe('from the host\n');
    expect(await lxc('profile', 'remove', name, profile)).toMatchObject({ code: 0 });
    expect(await inside('ls /mnt/profile')).toBe('');
    await lxc('profile', 'delete', profile);
  });

  it('is refused on a stopped instance, too, when its source is missing', async () => {
    const stopped = newName('stopped');
    expect((await lxc('init', 'tiny', stopped)).code).toBe(0);
    expect(await device('add', stopped, 'd', 'disk', 'source=/nope', 'path=/mnt')).toMatchObject({
      stderr: 'Error: Failed add validation for device "d": Missing source path "/nope" for disk "d"\n',
      code: 1,
    });
    expect((await device('list', stopped)).stdout).toBe('\n');
    expect(await lxc('start', stopped)).toMatchObject({ code: 0 });
    await removeInstances([stopped]);
  });
});

async function prefixOf(bridge: string): Promise<string> {
  const shown = (await lxcJson('query', `/1.0/networks/${bridge}?target=host1`)) as { config: Record<string, string> };
  return (shown.config['ipv4.address'] ?? '').split('.').slice(0, 3).join('.');
}
