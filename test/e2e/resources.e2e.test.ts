import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { api } from './api.ts';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, table, waitFor } from './support.ts';

const name = newName('resources');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(() => removeInstances([name]));

describe('storage, networks, images, operations by the stock client', () => {
  it('lists, shows and sizes storage pools', async () => {
    const { header, rows } = table((await lxc('storage', 'list')).stdout);
    expect(header).toEqual(['NAME', 'DRIVER', 'DESCRIPTION', 'USED BY', 'STATE']);
    expect(rows.find((row) => row[0] === 'tank')?.[1]).toBe('zfs');
    expect(rows.every((row) => row[4] === 'CREATED')).toBe(true);
    const shown = (await lxc('storage', 'show', 'default')).stdout;
    expect(shown).toMatch(/status: Created\nlocations:\n- host1\n- host2\n- host3/);
    const info = (await lxc('storage', 'info', 'default', '--target', 'host1')).stdout;
    expect(info).toMatch(/space used: [\d.]+\w+\n\s+total space: [\d.]+\w+/);
    const [instance] = await instancesOf([name]);
    for (const member of ['host1', 'host2', 'host3']) {
      const there = (await lxc('storage', 'info', 'default', '--target', member)).stdout;
      expect({ member, there: there.includes(`  - ${name}\n`) }).toEqual({
        member,
        there: member === instance?.location,
      });
    }
  });

  it('lists and shows networks and their leases', async () => {
    const { header, rows } = table((await lxc('network', 'list')).stdout);
    expect(header).toEqual(['NAME', 'TYPE', 'MANAGED', 'IPV4', 'IPV6', 'DESCRIPTION', 'USED BY', 'STATE']);
    expect(rows.find((row) => row[0] === 'lxdbr0')?.slice(1, 3)).toEqual(['bridge', 'YES']);
    const shown = (await lxc('network', 'show', 'lxdbr0')).stdout;
    expect(shown).toMatch(/managed: true\nstatus: Created\nlocations:\n- host1/);
    const leases = table((await lxc('network', 'list-leases', 'lxdbr0')).stdout);
    expect(leases.header).toEqual(['HOSTNAME', 'MAC ADDRESS', 'IP ADDRESS', 'TYPE', 'LOCATION']);
    expect(leases.rows.some((row) => row[0] === name)).toBe(true);
  });

  it('lists and describes images', async () => {
    const { header, rows } = table((await lxc('image', 'list')).stdout);
    expect(header).toEqual([
      'ALIAS',
      'FINGERPRINT',
      'PUBLIC',
      'DESCRIPTION',
      'ARCHITECTURE',
      'TYPE',
      'SIZE',
      'UPLOAD DATE',
    ]);
    expect(rows.map((row) => row[0])).toEqual(expect.arrayContaining(['tiny', 'debian/12']));
    expect((await lxc('image', 'info', 'tiny')).stdout).toMatch(/Fingerprint: [0-9a-f]{64}\n/);
    expect((await lxc('image', 'alias', 'list')).stdout).toContain('debian/12');
  });

  it('describes one instance', async () => {
    const { stdout } = await lxc('info', name);
    expect(stdout).toMatch(
      new RegExp(
        `^Name: ${name}\nStatus: RUNNING\nType: container\nArchitecture: x86_64\nLocation: host[123]\nPID: \\d+\n`,
      ),
    );
    expect(stdout).toMatch(/Resources:\n\s+Processes: \d+/);
    expect(stdout).toMatch(/inet:\s+10\.\d+\.\d+\.\d+\/24 \(global\)/);
  });

  it('shows a running operation in lxc operation list', async () => {
    const running = cluster.lxc(['exec', name, '--', 'sleep', '3']);
    const row = await waitFor('the operation to be listed', async () =>
      table((await lxc('operation', 'list')).stdout).rows.find(
        (cells) => cells[2] === 'Executing command' && cells[3] === 'RUNNING',
      ),
    );
    expect(table((await lxc('operation', 'list')).stdout).header).toEqual([
      'ID',
      'TYPE',
      'DESCRIPTION',
      'STATUS',
      'CANCELABLE',
      'CREATED',
      'LOCATION',
    ]);
    expect(row.slice(1, 4)).toEqual(['WEBSOCKET', 'Executing command', 'RUNNING']);
    await running;
  });

  it('streams events of every member to lxc monitor', async () => {
    const monitor = cluster.lxcStream(['monitor', '--type', 'lifecycle', '--format', 'json']);
    try {
      await monitor.connected;
      await lxc('restart', '-f', name);
      const actions = () =>
        monitor
          .output()
          .split('\n')
          .slice(0, -1)
          // The client sets events apart by empty lines.
          .filter((line) => line !== '')
          .map((line) => (JSON.parse(line) as { metadata: { action: string } }).metadata.action);
      await waitFor('the event', async () => (actions().includes('instance-restarted') ? true : undefined));
      expect(monitor.output()).toContain(`/1.0/instances/${name}`);
    } finally {
      await monitor.stop();
    }
  });

  it('answers 404 in LXD’s form for what is not there', async () => {
    for (const [path, text] of [
      ['/1.0/instances/nope', 'Instance not found'],
      ['/1.0/profiles/nope', 'Fetch profile: Profile not found'],
      ['/1.0/storage-pools/nope', 'Storage pool not found'],
      ['/1.0/networks/nope', 'Network not found'],
      ['/1.0/images/abc', 'Image not found'],
      ['/1.0/operations/nope', 'Operation not found'],
      ['/1.0/cluster/members/nope', 'Cluster member not found'],
      ['/1.0/nope', 'not found'],
    ] as const) {
      const { status, body } = await api({ method: 'GET', path });
      expect({ path, status, body }).toMatchObject({
        path,
        status: 404,
        body: { type: 'error', error_code: 404, error: text },
      });
      expect(await lxc('query', '--raw', path)).toEqual({ stdout: '', stderr: `Error: ${text}\n`, code: 1 });
    }
    expect(await lxcJson('query', '/1.0/cluster')).toMatchObject({ enabled: true });
  });
});
