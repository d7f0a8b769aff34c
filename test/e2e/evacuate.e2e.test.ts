/** A host that is emptied for maintenance and filled again. */
import { afterAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newNames, removeInstances, waitFor } from './support.ts';

const created: string[] = [];
afterAll(async () => {
  await lxc('cluster', 'restore', 'host2', '--force');
  await removeInstances(created);
});

const stateOf = async (member: string) =>
  ((await lxcJson('query', `/1.0/cluster/members/${member}`)) as { status: string }).status;

const memberSubnet = async (member: string) => {
  const network = (await lxcJson('query', `/1.0/networks/lxdbr0?target=${member}`)) as {
    config: Record<string, string>;
  };
  return network.config['ipv4.address'] ?? '';
};

async function launch(name: string, ...options: string[]): Promise<void> {
  created.push(name);
  expect(await lxc('launch', 'tiny', name, '--target', 'host2', ...options)).toMatchObject({ code: 0, stderr: '' });
}

describe('lxc cluster evacuate', () => {
  it('moves what can move, stops what cannot; restore brings all of it back', async () => {
    const [moving = '', onZfs = '', resting = '', bound = '', own = '', fixed = ''] = newNames('evac', 6);
    await launch(moving);
    await launch(onZfs, '-s', 'tank');
    await launch(resting);
    await launch(bound);
    await launch(own, '-c', 'cluster.evacuate=stop');
    await launch(fixed);
    const subnet = (await memberSubnet('host2')).replace(/\.\d+\/\d+$/, '');
    const address = `ipv4.address=${subnet}.77`;
    expect(await lxc('config', 'device', 'override', fixed, 'eth0', address)).toMatchObject({ code: 0 });
    const devices = ['config', 'device', 'add', bound, 'srv', 'disk', 'source=/srv', 'path=/mnt'];
    expect(await lxc(...devices)).toMatchObject({ code: 0 });
    expect(await lxc('stop', '-f', resting)).toMatchObject({ code: 0 });
    expect(await lxc('exec', moving, '--', 'sh', '-c', 'echo kept > /root/kept; sync')).toMatchObject({ code: 0 });
    const names = [bound, fixed, moving, onZfs, own, resting];
    const places = async () =>
      Object.fromEntries((await instancesOf(names)).map(({ name, location, status }) => [name, [location, status]]));

    expect(await lxc('cluster', 'evacuate', 'host2', '--force')).toMatchObject({ code: 0, stderr: '' });
    expect(await stateOf('host2')).toBe('Evacuated');
    const after = await places();
    expect(after).toEqual({
      [moving]: [expect.stringMatching(/host[13]/), 'Running'],
      [onZfs]: [expect.stringMatching(/host[13]/), 'Running'],
      [resting]: [expect.stringMatching(/host[13]/), 'Stopped'],
      [bound]: ['host2', 'Stopped'],
      [own]: ['host2', 'Stopped'],
      // Its address is none of another host's.
      [fixed]: ['host2', 'Stopped'],
    });
    expect((await lxc('exec', moving, '--', 'cat', '/root/kept')).stdout).toBe('kept\n');

    const again = await lxc('cluster', 'evacuate', 'host2', '--force');
    expect(again).toMatchObject({ code: 1, stderr: 'Error: Cluster member is already evacuated\n' });
    const [refused = '', elsewhere = ''] = newNames('evac', 2);
    created.push(elsewhere);
    expect(await lxc('launch', 'tiny', refused, '--target', 'host2')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Cluster member is evacuated'),
    });
    expect(await lxc('move', resting, '--target', 'host2')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Cluster member is evacuated'),
    });
    expect(await lxc('launch', 'tiny', elsewhere)).toMatchObject({ code: 0 });
    expect((await instancesOf([elsewhere]))[0]?.location).not.toBe('host2');

    expect(await lxc('cluster', 'restore', 'host2', '--force')).toMatchObject({ code: 0, stderr: '' });
    expect(await stateOf('host2')).toBe('Online');
    expect(await places()).toEqual({
      [moving]: ['host2', 'Running'],
      [onZfs]: ['host2', 'Running'],
      [resting]: ['host2', 'Stopped'],
      [bound]: ['host2', 'Running'],
      [own]: ['host2', 'Running'],
      [fixed]: ['host2', 'Running'],
    });
    for (const { config } of await instancesOf(names)) expect(config).not.toHaveProperty('volatile.evacuate.origin');
    expect((await lxc('exec', moving, '--', 'cat', '/root/kept')).stdout).toBe('kept\n');
    expect(await lxc('cluster', 'restore', 'host2', '--force')).toMatchObject({
      code: 1,
      stderr: 'Error: Cluster member is already restored\n',
    });
  });

  it('works while another member is away, which can be marked evacuated itself', async () => {
    const [name = ''] = newNames('evac', 1);
    await launch(name);
    await cluster.host(3).stopAgent();
    try {
      await waitFor('host3 to be away', async () => (await stateOf('host3')) === 'Offline' || undefined);
      expect(await lxc('cluster', 'evacuate', 'host2', '--force')).toMatchObject({ code: 0, stderr: '' });
      expect((await instancesOf([name]))[0]).toMatchObject({ location: 'host1', status: 'Running' });
      expect(await lxc('cluster', 'restore', 'host2', '--force')).toMatchObject({ code: 0, stderr: '' });
      expect((await instancesOf([name]))[0]).toMatchObject({ location: 'host2', status: 'Running' });
      expect(await lxc('cluster', 'evacuate', 'host3', '--force')).toMatchObject({ code: 0, stderr: '' });
    } finally {
      await cluster.host(3).startAgent();
    }
    await waitFor('host3 to be evacuated', async () => (await stateOf('host3')) === 'Evacuated' || undefined);
    expect(await lxc('cluster', 'restore', 'host3', '--force')).toMatchObject({ code: 0, stderr: '' });
    expect(await stateOf('host3')).toBe('Online');
  });
});
