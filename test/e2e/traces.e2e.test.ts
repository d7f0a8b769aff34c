/** What an instance leaves behind: nothing. */
import { afterAll, describe, expect, it } from 'vitest';
import { cluster, lxc, newName, removeInstances } from './support.ts';

const created: string[] = [];
afterAll(() => removeInstances(created));

/** Every mention of `name` on the host: datasets, mounts, links, leases, cgroups, files of the agent. */
async function traces(host: number, name: string): Promise<Record<string, string>> {
  const on = async (...argv: string[]) => (await cluster.host(host).exec(argv)).stdout;
  const mentions = (text: string) =>
    text
      .split('\n')
      .filter((line) => line.includes(name))
      .join('\n');
  const veth = (await on('ip', '-o', 'link')).split('\n').filter((line) => line.includes('veth')).length;
  return {
    datasets: mentions(await on('zfs', 'list', '-H', '-o', 'name')),
    mounts: mentions(await on('cat', '/proc/self/mounts')),
    veths: String(veth),
    leases: mentions((await lxc('network', 'list-leases', 'lxdbr0')).stdout),
    cgroups: mentions(await on('find', '/sys/fs/cgroup', '-type', 'd', '-name', `*${name}*`)),
    files: mentions(await on('find', '/var/lib/longshore', '-name', `*${name}*`, '-not', '-path', '*/rootfs/*')),
  };
}

describe.each([
  ['tank', 'zfs'],
  ['default', 'btrfs'],
])('an instance on %s', (pool) => {
  it('is a clone of the image, and after lxc delete leaves nothing behind', async () => {
    const name = newName('trace');
    created.push(name);
    const clean = await traces(2, name);
    expect(await lxc('launch', 'tiny', name, '-s', pool, '--target', 'host2')).toMatchObject({ code: 0 });
    const there = await traces(2, name);
    expect(there.leases).toContain(name);
    expect(there.cgroups).toContain(name);
    expect(Number(there.veths)).toBe(Number(clean.veths) + 1);
    if (pool === 'tank') {
      const dataset = there.datasets?.split('\n').find((line) => line.includes(name)) ?? '';
      const origin = await cluster.host(2).exec(['zfs', 'get', '-Hp', '-o', 'value', 'origin', dataset]);
      expect(origin.stdout).toMatch(/\/images\/[0-9a-f]{64}@readonly\n/);
    } else {
      expect(there.files).toContain(name);
    }
    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
    expect(await traces(2, name)).toEqual(clean);
  });
});

describe('a container on the default pool', () => {
  it('is unprivileged: root inside is not root outside', async () => {
    const name = newName('user');
    created.push(name);
    expect(await lxc('launch', 'tiny', name)).toMatchObject({ code: 0 });
    const map = await lxc('exec', name, '--', 'cat', '/proc/self/uid_map');
    const [inside, outside] = map.stdout.trim().split(/\s+/);
    expect(inside).toBe('0');
    expect(Number(outside)).toBeGreaterThanOrEqual(100_000);
  });
});
