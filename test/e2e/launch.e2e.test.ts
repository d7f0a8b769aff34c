import { afterAll, describe, expect, it } from 'vitest';
import { instancesOf, lxc, lxcJson, newNames, removeInstances, table, waitFor } from './support.ts';

interface ListedInstance {
  name: string;
  status: string;
  location: string;
  state: { network: Record<string, { addresses: { family: string; address: string; scope: string }[] }> | null } | null;
}

const created: string[] = [];
afterAll(() => removeInstances(created));

async function instancesPerMember(): Promise<Record<string, number>> {
  const counts: Record<string, number> = { host1: 0, host2: 0, host3: 0 };
  const all = (await lxcJson('query', '/1.0/instances?recursion=1')) as { location: string }[];
  for (const { location } of all) counts[location] = (counts[location] ?? 0) + 1;
  return counts;
}

async function launch(image: string, name: string, ...options: string[]) {
  created.push(name);
  const result = await lxc('launch', image, name, ...options);
  expect(result.stderr).toBe('');
  expect(result.code).toBe(0);
  return result;
}

describe('lxc launch', () => {
  it('says what stock lxc says and puts three instances on three members', async () => {
    const names = newNames('spread', 3);
    const counts = await instancesPerMember();
    for (const name of names) {
      // A member that has the image not yet tells of its unpacking on a line that it overwrites.
      const { stdout } = await launch('tiny', name);
      expect(stdout.replace(/\r[^\n]*\r/, '')).toBe(`Creating ${name}\nStarting ${name}\n`);
    }
    const locations = (await instancesOf(names)).map((instance) => instance.location);
    // The emptiest member each time: on an empty cluster, one on each.
    const expected = names.map(() => {
      const [emptiest = ''] = Object.keys(counts).sort(
        (a, b) => (counts[a] ?? 0) - (counts[b] ?? 0) || (a < b ? -1 : 1),
      );
      counts[emptiest] = (counts[emptiest] ?? 0) + 1;
      return emptiest;
    });
    expect([...locations].sort()).toEqual(expected.sort());
  });

  it('goes where --target says', async () => {
    const [name = ''] = newNames('target', 1);
    await launch('tiny', name, '--target', 'host3');
    const [instance] = await instancesOf([name]);
    expect(instance).toMatchObject({ status: 'Running', location: 'host3' });
  });

  it('has its address, from that member’s bridge, as soon as it is running', async () => {
    const [name = ''] = newNames('address', 1);
    await launch('tiny', name, '--target', 'host2');
    const [instance] = (await lxcJson('list', `^${name}$`, '--format', 'json')) as ListedInstance[];
    const address = instance?.state?.network?.eth0?.addresses.find((a) => a.family === 'inet' && a.scope === 'global');
    const bridge = (await lxcJson('query', '/1.0/networks/lxdbr0?target=host2')) as { config: Record<string, string> };
    const prefix = bridge.config['ipv4.address']?.split('.').slice(0, 3).join('.');
    expect(address?.address.startsWith(`${prefix}.`)).toBe(true);
  });

  it('shows LXD’s columns in lxc list', async () => {
    const [name = ''] = newNames('columns', 1);
    await launch('tiny', name);
    const { header, rows } = table((await lxc('list')).stdout);
    expect(header).toEqual(['NAME', 'STATE', 'IPV4', 'IPV6', 'TYPE', 'SNAPSHOTS', 'LOCATION']);
    const row = rows.find((cells) => cells[0] === name);
    expect(row?.[1]).toBe('RUNNING');
    expect(row?.[2]).toMatch(/^10\.\d+\.\d+\.\d+ \(eth0\)$/);
    expect(row?.slice(3, 6)).toEqual(['', 'CONTAINER', '0']);
    expect(row?.[6]).toMatch(/^host[123]$/);
  });

  it('refuses a taken name and leaves the first one alone', async () => {
    const [name = ''] = newNames('taken', 1);
    await launch('tiny', name);
    const again = await lxc('launch', 'tiny', name);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('already exists');
    expect((await instancesOf([name]))[0]?.status).toBe('Running');
  });

  it('refuses an unknown image and an unknown target with LXD’s words', async () => {
    const image = await lxc('launch', 'no-such-image', 'nobody');
    expect(image).toMatchObject({ code: 1 });
    expect(image.stderr).toContain('Image not found');
    const target = await lxc('launch', 'tiny', 'nobody', '--target', 'host99');
    expect(target).toMatchObject({ code: 1 });
    expect(target.stderr).toContain('Cluster member not found');
    expect(await instancesOf(['nobody'])).toEqual([]);
  });

  it('takes an image by a part of its fingerprint, and makes without starting', async () => {
    const [name = ''] = newNames('prefix', 1);
    const [{ fingerprint = '' } = {}] = (await lxcJson('image', 'list', 'tiny', '--format', 'json')) as {
      fingerprint: string;
    }[];
    created.push(name);
    expect(await lxc('init', fingerprint.slice(0, 8), name)).toMatchObject({ stderr: '', code: 0 });
    const [instance] = await instancesOf([name]);
    expect(instance).toMatchObject({ status: 'Stopped', config: { 'volatile.base_image': fingerprint } });
    expect(await lxc('start', name)).toEqual({ stdout: '', stderr: '', code: 0 });
    expect((await instancesOf([name]))[0]?.status).toBe('Running');
  });

  it('starts a Debian with systemd that comes up', async () => {
    const [name = ''] = newNames('debian', 1);
    await launch('debian/12', name);
    const state = await waitFor('systemd to be up', async () => {
      const { stdout } = await lxc('exec', name, '--', 'systemctl', 'is-system-running');
      return ['running', 'degraded'].includes(stdout.trim()) ? stdout.trim() : undefined;
    });
    const failedUnits = (await lxc('exec', name, '--', 'systemctl', '--failed', '--no-legend')).stdout;
    expect({ state, failedUnits }).toEqual({ state: 'running', failedUnits: '' });
  });
});
