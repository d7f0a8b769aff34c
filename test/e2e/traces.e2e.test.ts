/** What an instance leaves behind: nothing. */
import { afterAll, describe, expect, it } from 'vitest';
import { cluster, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';
import { tracesOf } from './traces.ts';

const created: string[] = [];
afterAll(() => removeInstances(created));

const LEASES = '/var/lib/longshore/networks/lxdbr0/dnsmasq.leases';
const SERVER = '/run/longshore/networks/lxdbr0.dnsmasq.pid';

/** The address that the instance's own DHCP client got from the host's server. */
async function leaseOf(host: number, name: string): Promise<string | undefined> {
  const { stdout } = await cluster.host(host).exec(['cat', LEASES]);
  // Expiry, MAC, address, name, client.
  return stdout
    .split('\n')
    .map((line) => line.split(' '))
    .find((fields) => fields[3] === name)?.[2];
}

describe.each([
  ['tank', 'zfs'],
  ['default', 'btrfs'],
])('an instance on %s (%s)', (pool, driver) => {
  it('is a clone of the image, and after lxc delete leaves nothing behind', async () => {
    const name = newName('trace');
    created.push(name);
    const clean = await tracesOf(2, name);
    expect(clean).toMatchObject({ datasets: [], mounts: [], cgroups: [], processes: [], files: [], told: [] });
    expect(await lxc('launch', 'tiny', name, '-s', pool, '--target', 'host2')).toMatchObject({ code: 0 });
    const lease = await waitFor('its DHCP client to hold a lease', () => leaseOf(2, name));

    const there = await tracesOf(2, name);
    expect(there.leases).toEqual([expect.stringContaining(`,${lease},`)]);
    expect(there.cgroups).not.toEqual([]);
    expect(there.processes).not.toEqual([]);
    expect(Number(there.interfaces[0])).toBe(Number(clean.interfaces[0]) + 1);
    const rootfs = `/var/lib/longshore/storage-pools/${pool}/containers/${name}`;
    if (driver === 'zfs') {
      const [dataset = ''] = there.datasets;
      const origin = await cluster.host(2).exec(['zfs', 'get', '-Hp', '-o', 'value', 'origin', dataset]);
      expect(origin.stdout).toMatch(/\/images\/[0-9a-f]{64}@readonly\n/);
      expect(there.mounts).toEqual([expect.stringContaining(rootfs)]);
    } else {
      const subvolume = await cluster.host(2).exec(['btrfs', 'subvolume', 'show', rootfs]);
      // Its parent is the image's subvolume, by UUID.
      expect(subvolume.stdout).toMatch(/Parent UUID:\s+[0-9a-f-]{36}/);
    }

    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
    expect(await tracesOf(2, name)).toEqual(clean);
    expect(await leaseOf(2, name)).toBeUndefined();
  });
});

describe('the lease of a deleted instance', () => {
  it('is free for the next one, without a pause of the DHCP server', async () => {
    const server = (await cluster.host(2).exec(['cat', SERVER])).stdout;
    const [first, second] = [newName('lease'), newName('lease')];
    created.push(first, second);
    const addressOf = async (name: string, ...options: string[]) => {
      expect(await lxc('launch', 'tiny', name, '--target', 'host2', ...options)).toMatchObject({ code: 0 });
      return await waitFor('its DHCP client to hold a lease', () => leaseOf(2, name));
    };
    const address = await addressOf(first);
    expect(await lxc('delete', '-f', first)).toMatchObject({ code: 0 });
    expect(await addressOf(second, '-d', `eth0,ipv4.address=${address}`)).toBe(address);
    expect((await cluster.host(2).exec(['cat', SERVER])).stdout).toBe(server);
  });
});

describe('a container on the default pool', () => {
  it('is unprivileged: root inside is not root outside', async () => {
    const name = newName('user');
    created.push(name);
    expect(await lxc('launch', 'tiny', name, '--target', 'host2')).toMatchObject({ code: 0 });
    const map = await lxc('exec', name, '--', 'cat', '/proc/self/uid_map');
    const [inside, outside] = map.stdout.trim().split(/\s+/);
    expect(inside).toBe('0');
    expect(Number(outside)).toBeGreaterThanOrEqual(100_000);
    const { pid } = (await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number };
    const owner = await cluster.host(2).exec(['stat', '-c', '%u', `/proc/${pid}`]);
    expect(owner.stdout.trim()).toBe(outside);
  });
});
