/** Instances that move between hosts which cannot reach each other. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { api } from './api.ts';
import { cluster, instancesOf, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';
import { tracesOf } from './traces.ts';

const created: string[] = [];
const plain = newName('plain');
beforeAll(async () => {
  expect(await lxc('storage', 'create', plain, 'dir')).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await removeInstances(created);
  await waitFor('the pool to go', async () => (await lxc('storage', 'delete', plain)).code === 0 || undefined);
});

const one = async (name: string) => (await instancesOf([name]))[0];

/** A stopped instance with something in it. */
async function makeStopped(name: string, pool: string, member: string, mebibytes = 1): Promise<string> {
  created.push(name);
  expect(await lxc('launch', 'tiny', name, '-s', pool, '--target', member)).toMatchObject({ code: 0, stderr: '' });
  const script = `dd if=/dev/urandom of=/root/data bs=1M count=${mebibytes} 2>/dev/null; chown 1000:1001 /root/data; chmod 4751 /root/data
    ln /root/data /root/again; ln -s data /root/link; sync; md5sum /root/data`;
  const { stdout, stderr, code } = await lxc('exec', name, '--', 'sh', '-c', script);
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
  return stdout;
}

/** What the host has of the instance, apart from names in DNS. */
async function copyOn(host: number, name: string) {
  const { datasets, mounts, cgroups, files } = await tracesOf(host, name);
  return { datasets, mounts, cgroups, files };
}
const NOTHING = { datasets: [], mounts: [], cgroups: [], files: [] };

/** The copy goes right after the move has been told. */
const untilGone = (host: number, name: string) =>
  waitFor(`nothing of ${name} on host${host}`, async () => {
    const left = await copyOn(host, name);
    return Object.values(left).every((lines) => lines.length === 0) || undefined;
  });

describe('lxc move --target', () => {
  it.each([['default'], ['tank'], [plain]])('takes a stopped instance on %s to another host, whole', async (pool) => {
    const name = newName('move');
    const sum = await makeStopped(name, pool, 'host1');
    const before = await one(name);
    expect(await lxc('move', name, '--target', 'host2')).toMatchObject({ code: 0, stderr: '' });
    const after = await one(name);
    expect(after).toMatchObject({ location: 'host2', status: 'Stopped' });
    expect(after?.config['volatile.eth0.hwaddr']).toBe(before?.config['volatile.eth0.hwaddr']);
    await untilGone(1, name);

    expect(await lxc('start', name)).toMatchObject({ code: 0, stderr: '' });
    const look = 'md5sum /root/data; stat -c "%u %g %a %h" /root/data; readlink /root/link';
    expect((await lxc('exec', name, '--', 'sh', '-c', look)).stdout).toBe(`${sum}1000 1001 4751 2\ndata\n`);
    await waitFor(
      'its address',
      async () => (await lxc('list', name, '-f', 'csv', '-c', '4')).stdout.includes('(eth0)') || undefined,
    );

    // And back again, with what it wrote there.
    expect(await lxc('exec', name, '--', 'sh', '-c', 'echo there > /root/place; sync')).toMatchObject({ code: 0 });
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
    expect(await lxc('move', name, '--target', 'host1')).toMatchObject({ code: 0, stderr: '' });
    expect(await lxc('start', name)).toMatchObject({ code: 0, stderr: '' });
    expect((await lxc('exec', name, '--', 'cat', '/root/place')).stdout).toBe('there\n');
    await untilGone(2, name);
    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
    expect(await copyOn(1, name)).toEqual(NOTHING);
  });

  it('refuses what cannot be, and changes nothing', async () => {
    const name = newName('stay');
    await makeStopped(name, 'default', 'host1');
    const before = await one(name);
    const move = async (target: string) => (await lxc('move', name, '--target', target)).stderr;
    expect(await move('nowhere')).toContain('Cluster member not found');
    expect(await move('host1')).toContain("Target must be different than instance's current location");
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
    expect(await move('host2')).toMatch(/live migration/);
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
    await cluster.host(3).stopAgent();
    try {
      await waitFor('host3 to be away', async () =>
        (await lxc('cluster', 'list', '-f', 'csv')).stdout.includes('OFFLINE') ? true : undefined,
      );
      expect(await move('host3')).toContain('offline');
    } finally {
      await cluster.host(3).startAgent();
    }
    expect(await one(name)).toMatchObject({ location: 'host1', config: before?.config });
    for (const host of [2, 3]) expect(await copyOn(host, name)).toEqual(NOTHING);
  });

  it('holds off whatever would change the instance meanwhile', async () => {
    const name = newName('busy');
    await makeStopped(name, 'default', 'host1', 200);
    const { body } = await startMove(name, 'host2');
    const started = await lxc('start', name);
    expect(started).toMatchObject({ code: 1 });
    expect(started.stderr).toContain('Instance is busy running a "migrate" operation');
    expect((await endOf(body.operation ?? '')).status).toBe('Success');
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
  });
});

describe('lxc copy', () => {
  it.each([['default'], ['tank'], [plain]])('on %s makes another instance, here or on another host', async (pool) => {
    const name = newName('model');
    const sum = await makeStopped(name, pool, 'host1');
    const copies = ['host1', 'host3'].map((host) => [host, `${name}-${host}`] as const);
    for (const [host, copy] of copies) {
      created.push(copy);
      expect(await lxc('copy', name, copy, '--target', host)).toMatchObject({ code: 0, stderr: '' });
      expect(await one(copy)).toMatchObject({ location: host, status: 'Stopped' });
    }
    const hwaddrs = (await instancesOf([name, ...copies.map(([, copy]) => copy)])).map(
      ({ config }) => config['volatile.eth0.hwaddr'],
    );
    expect(new Set(hwaddrs).size).toBe(3);
    expect(await lxc('delete', name)).toMatchObject({ code: 0 });
    for (const [, copy] of copies) {
      expect(await lxc('start', copy)).toMatchObject({ code: 0, stderr: '' });
      expect((await lxc('exec', copy, '--', 'md5sum', '/root/data')).stdout).toBe(sum);
      expect(await lxc('delete', '-f', copy)).toMatchObject({ code: 0 });
    }
    expect(await copyOn(3, name)).toEqual(NOTHING);
  });
});

interface Operation {
  status: string;
  err: string;
}

const startMove = (name: string, target: string) =>
  api({
    method: 'POST',
    path: `/1.0/instances/${name}?target=${target}`,
    body: JSON.stringify({ name, migration: true, live: true }),
  });

const endOf = async (operation: string) =>
  (await api({ method: 'GET', path: `${operation}/wait?timeout=90` })).body.metadata as Operation;

/** One copy, where the API says, that starts; nothing on the other host. */
async function expectOneCopy(name: string, sum: string, ended: Operation): Promise<void> {
  const location = (await one(name))?.location ?? '';
  expect(location).toBe(ended.status === 'Success' ? 'host3' : 'host2');
  await waitFor(`${location} to be there`, async () => {
    const { status } = (await lxcJson('query', `/1.0/cluster/members/${location}`)) as { status: string };
    return status === 'Online' || undefined;
  });
  expect(await lxc('start', name)).toMatchObject({ code: 0, stderr: '' });
  expect((await lxc('exec', name, '--', 'md5sum', '/root/data')).stdout).toBe(sum);
  await untilGone(location === 'host3' ? 2 : 3, name);
  const { datasets } = await tracesOf(location === 'host3' ? 3 : 2, name);
  expect(datasets.filter((dataset) => dataset.includes('@'))).toEqual([]);
  expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
}

const POOLS = '/var/lib/longshore/storage-pools';

describe.each([['default'], ['tank'], [plain]])('a move on %s that is cut off', (pool) => {
  const victims = { source: 2, target: 3 } as const;
  it.each<[string, 'source' | 'target', string | null]>([
    ['at once', 'source', null],
    ['at once', 'target', null],
    ['while the volume is on its way', 'source', 'first bytes'],
    ['while the volume is on its way', 'target', 'first bytes'],
    ['when the volume is there', 'source', `${POOLS}/${pool}/containers/NAME/rootfs`],
    ['when the volume is there', 'target', `${POOLS}/${pool}/containers/NAME/rootfs`],
    ['when the target knows all of it', 'target', '/var/lib/longshore/containers/NAME/config'],
  ])('%s (the agent of the %s is killed) leaves one copy', async (_when, side, sign) => {
    const name = newName('cut');
    const sum = await makeStopped(name, pool, 'host2', 60);
    const victim = cluster.host(victims[side]);
    const pid = await victim.agentPid();
    const { body } = await startMove(name, 'host3');
    await untilSign(name, pool, sign);
    process.kill(pid, 'SIGKILL');
    await victim.killAgent();
    await victim.startAgent();
    await expectOneCopy(name, sum, await endOf(body.operation ?? ''));
  });
});

/** Looks as often as possible: the steps are milliseconds long. */
async function untilSign(name: string, pool: string, sign: string | null): Promise<void> {
  if (sign === null) return;
  if (sign === 'first bytes') {
    const receiving = 'pgrep -x zfs || pgrep -x btrfs || pgrep -x tar';
    await waitFor(`${name} to arrive on ${pool}`, async () => {
      const { stdout } = await cluster.host(3).exec(['sh', '-c', `${receiving}; true`]);
      return stdout !== '' || undefined;
    });
    return;
  }
  const path = sign.replace('NAME', name);
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    const { code } = await cluster.host(3).exec(['test', '-e', path]);
    if (code === 0) return;
  }
}
