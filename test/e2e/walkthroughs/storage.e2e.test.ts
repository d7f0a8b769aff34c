/** Storage of a cluster, as LXD's guide and its readers do it: pools by every way, volumes of their own, one host away. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, lxcJson, newName, removeInstances, table, waitFor } from '../support.ts';

const MEMBERS = ['host1', 'host2', 'host3'];
const tag = randomBytes(3).toString('hex');
const named = (stem: string) => `${stem}${tag}`;
const ok = (stdout: string) => ({ stdout, stderr: '', code: 0 });
const refused = (text: string) => ({ stdout: '', stderr: `Error: ${text}\n`, code: 1 });

const storage = (...args: string[]) => lxc('storage', ...args);
const volume = (...args: string[]) => lxc('storage', 'volume', ...args);
const onHost = async (number: number, ...argv: string[]) => {
  const { stdout, stderr, code } = await cluster.host(number).exec(argv);
  if (code !== 0) throw new Error(`${argv.join(' ')} on host${number}: ${stderr}`);
  return stdout.trim();
};
const stateOf = async (pool: string) =>
  table((await storage('list')).stdout)
    .rows.find((row) => row[0] === pool)
    ?.at(-1) ?? null;
const onMember = async (pool: string, member: string) =>
  (await lxcJson('query', `/1.0/storage-pools/${pool}?target=${member}`)) as {
    status: string;
    config: Record<string, string>;
  };

describe('a pool in two steps, on a block device, a dataset and a file', () => {
  const pool = named('data');
  let device = '';
  let dataset = '';
  const names = MEMBERS.map((member) => named(`zp${member}`));

  beforeAll(async () => {
    await onHost(1, 'truncate', '--size=512M', `/var/lib/longshore/${pool}.disk`);
    device = await onHost(1, 'losetup', '--find', '--show', `/var/lib/longshore/${pool}.disk`);
    const tank = (await onMember('tank', 'host2')).config['zfs.pool_name'] ?? '';
    dataset = `${tank}/${pool}`;
    await onHost(2, 'zfs', 'create', '-o', 'mountpoint=none', dataset);
  });
  afterAll(async () => {
    await storage('delete', pool);
    await onHost(1, 'losetup', '--detach', device);
    await onHost(1, 'rm', `/var/lib/longshore/${pool}.disk`);
    await onHost(2, 'zfs', 'destroy', '-r', dataset);
  });

  it('is pending on each member with keys of its own, and nothing else', async () => {
    expect(await storage('create', pool, 'zfs', 'rsync.bwlimit=10', '--target', 'host1')).toEqual(
      refused('Config key "rsync.bwlimit" may not be used as member-specific key'),
    );
    expect(await stateOf(pool)).toBeNull();
    expect(
      await storage('create', '--target', 'host1', pool, 'zfs', `source=${device}`, `zfs.pool_name=${names[0]}`),
    ).toEqual(ok(`Storage pool ${pool} pending on member host1\n`));
    expect(await storage('create', '--target', 'host2', pool, 'zfs', `source=${dataset}`)).toEqual(
      ok(`Storage pool ${pool} pending on member host2\n`),
    );
    expect(await storage('create', '--target', 'host2', pool, 'zfs')).toEqual(
      refused('The storage pool already defined on member "host2"'),
    );
    expect(await stateOf(pool)).toBe('PENDING');
  });

  it('is not made before every member has its part', async () => {
    expect(await storage('create', pool, 'zfs')).toEqual(refused('Pool not defined on nodes: host3'));
    expect(await stateOf(pool)).toBe('PENDING');
    await storage('create', '--target', 'host3', pool, 'zfs', 'size=300MiB', `zfs.pool_name=${names[2]}`);
  });

  it('is made everywhere by the last call', async () => {
    expect(await storage('create', pool, 'zfs', 'size=1GiB')).toEqual(
      refused('Config key "size" is cluster member specific'),
    );
    expect(await storage('create', pool, 'zfs', 'volume.size=64MiB')).toEqual(ok(`Storage pool ${pool} created\n`));
    expect(await stateOf(pool)).toBe('CREATED');
    expect(await storage('create', pool, 'zfs')).toEqual(refused('The storage pool is already created'));
    const shown = (await storage('show', pool)).stdout;
    expect(shown).toBe(
      `config:\n  volume.size: 64MiB\ndescription: ""\nname: ${pool}\ndriver: zfs\nused_by: []\nstatus: Created\n` +
        'locations:\n- host1\n- host2\n- host3\n',
    );
    expect((await onMember(pool, 'host1')).config).toEqual({
      source: names[0],
      'volatile.initial_source': device,
      'volume.size': '64MiB',
      'zfs.pool_name': names[0],
    });
    expect((await onMember(pool, 'host2')).config).toMatchObject({ source: dataset, 'zfs.pool_name': dataset });
    expect((await onMember(pool, 'host3')).config).toMatchObject({ size: `${300 * 2 ** 20}B` });
    expect(await onHost(1, 'zpool', 'list', '-H', '-o', 'name', names[0] ?? '')).toBe(names[0]);
  });

  it('says how full it is on each member', async () => {
    for (const member of MEMBERS) {
      const { stdout } = await storage('info', pool, '--target', member);
      expect(stdout).toMatch(/driver: zfs\n {2}name: \w+\n {2}space used: [\d.]+\w+\n {2}total space: [\d.]+\w+\n/);
    }
  });

  it('keeps what places its data, and takes keys of the cluster', async () => {
    expect((await storage('set', pool, 'source', '/dev/other', '--target', 'host1')).stderr).toBe(
      'Error: Pool source cannot be changed when not in pending state\n',
    );
    expect(await storage('set', pool, 'rsync.bwlimit', '20MB')).toEqual(ok(''));
    expect((await onMember(pool, 'host3')).config['rsync.bwlimit']).toBe('20MB');
  });

  it('goes, and leaves the dataset and the device that were there before', async () => {
    expect(await storage('delete', pool)).toEqual(ok(`Storage pool ${pool} deleted\n`));
    expect(await onHost(2, 'zfs', 'list', '-H', '-r', '-o', 'name', dataset)).toBe(dataset);
    expect((await cluster.host(1).exec(['zpool', 'list', names[0] ?? ''])).code).not.toBe(0);
    expect(await onHost(3, 'ls', '/var/lib/longshore/disks')).not.toContain(pool);
  });
});

describe('a pool that a member cannot make', () => {
  const pool = named('full');
  // A host of its own has its own; the rest of the tree is the machine's.
  const source = `/var/lib/longshore/given-${pool}`;
  afterAll(async () => {
    await storage('delete', pool);
    for (const number of [1, 2, 3]) await onHost(number, 'rm', '-rf', source);
  });

  it('is errored until the last call is repeated', async () => {
    for (const number of [1, 2, 3]) {
      await onHost(number, 'mkdir', '-p', source);
      await storage('create', '--target', `host${number}`, pool, 'dir', `source=${source}`);
    }
    await onHost(2, 'touch', `${source}/precious`);
    expect(await storage('create', pool, 'dir')).toEqual(refused(`Source path "${source}" isn't empty`));
    expect(await stateOf(pool)).toBe('ERRORED');
    expect((await onMember(pool, 'host2')).status).toBe('Errored');
    expect(await onHost(2, 'ls', source)).toBe('precious');
    await onHost(2, 'rm', `${source}/precious`);
    expect(await storage('create', pool, 'dir')).toEqual(ok(`Storage pool ${pool} created\n`));
    expect(await stateOf(pool)).toBe('CREATED');
  });
});

describe('a pool in one step', () => {
  const pool = named('one');
  afterAll(async () => {
    await cluster.host(3).startAgent();
    await storage('delete', pool);
  });

  it('is made without the member that is away, which has it within ten seconds of its return', async () => {
    await cluster.host(3).stopAgent();
    await waitFor('host3 to be offline', async () =>
      table((await lxc('cluster', 'list')).stdout)
        .rows.find((row) => row[0] === 'host3')
        ?.includes('OFFLINE')
        ? true
        : undefined,
    );
    expect(await storage('create', pool, 'btrfs', 'size=300MiB')).toEqual(ok(`Storage pool ${pool} created\n`));
    expect(await stateOf(pool)).toBe('CREATED');
    expect((await onMember(pool, 'host1')).status).toBe('Created');
    expect((await onMember(pool, 'host3')).status).toBe('Pending');
    expect((await volume('create', pool, 'v', '--target', 'host3')).stderr).toBe(
      'Error: Cluster member "host3" is offline\n',
    );
    await cluster.host(3).startAgent();
    await waitFor(
      'host3 to have the pool',
      async () => ((await onMember(pool, 'host3')).status === 'Created' ? true : undefined),
      10_000,
    );
    expect(await volume('create', pool, 'v', '--target', 'host3')).toEqual(ok('Storage volume v created\n'));
    await volume('delete', pool, 'v');
  });

  it('grows on the member that is told to, and does not shrink', async () => {
    const total = async (member: string) =>
      (
        (await lxcJson('query', `/1.0/storage-pools/${pool}/resources?target=${member}`)) as {
          space: { total: number };
        }
      ).space.total;
    const before = await total('host2');
    expect(await storage('set', pool, 'size', '600MiB', '--target', 'host2')).toEqual(ok(''));
    expect(await total('host2')).toBe(before + 300 * 2 ** 20);
    expect(await total('host1')).toBe(before);
    expect(await storage('set', pool, 'size', '300MiB', '--target', 'host2')).toEqual(
      refused('The storage pool cannot be made smaller'),
    );
    expect((await onMember(pool, 'host2')).config.size).toBe('600MiB');
  });
});

describe('volumes', () => {
  const web = named('web');
  const instance = newName('volumes');
  const elsewhere = newName('volumes');
  const inside = async (script: string) => lxc('exec', instance, '--', 'sh', '-c', script);

  beforeAll(async () => {
    expect((await lxc('launch', 'tiny', instance, '--target', 'host2')).code).toBe(0);
  });
  afterAll(async () => {
    await removeInstances([instance, elsewhere]);
    for (const member of ['host1', 'host2']) await volume('delete', 'default', web, '--target', member);
  });

  it('have the same name on two members, and are told apart by it', async () => {
    expect(await volume('create', 'default', web, '--target', 'host1')).toEqual(ok(`Storage volume ${web} created\n`));
    expect(await volume('create', 'default', web, 'size=20MiB', '--target', 'host2')).toEqual(
      ok(`Storage volume ${web} created\n`),
    );
    expect(await volume('create', 'default', web, '--target', 'host2')).toEqual(
      refused('Volume by that name already exists'),
    );
    const { header, rows } = table((await volume('list', 'default')).stdout);
    expect(header).toEqual(['TYPE', 'NAME', 'DESCRIPTION', 'CONTENT-TYPE', 'USED BY', 'LOCATION']);
    expect(rows.filter((row) => row[1] === web)).toEqual([
      ['custom', web, '', 'filesystem', '0', 'host1'],
      ['custom', web, '', 'filesystem', '0', 'host2'],
    ]);
    expect(await volume('show', 'default', web)).toEqual(
      refused(`More than one cluster member has a volume named "${web}". Please target a specific member`),
    );
    expect((await volume('show', 'default', web, '--target', 'host2')).stdout).toMatch(
      new RegExp(
        `^config:\n {2}size: 20MiB\ndescription: ""\nname: ${web}\ntype: custom\nused_by: \\[\\]\nlocation: host2\n` +
          'content_type: filesystem\nproject: default\ncreated_at: ',
      ),
    );
  });

  it('are attached to a running instance, which owns what is in them', async () => {
    expect(await volume('attach', 'default', web, instance, 'data', '/data')).toEqual(ok(''));
    const script =
      'touch /data/kept; chown 1000:1001 /data/kept; stat -c %u:%g /data /data/kept; cat /proc/self/uid_map';
    const { stdout } = await inside(script);
    expect(stdout).toMatch(/^0:0\n1000:1001\n +0 +[1-9]\d+ +65536\n$/);
    expect((await volume('show', 'default', web, '--target', 'host2')).stdout).toContain(
      `used_by:\n- /1.0/instances/${instance}\n`,
    );
    expect((await storage('show', 'default')).stdout).toContain(
      `- /1.0/storage-pools/default/volumes/custom/${web}?target=host2\n`,
    );
  });

  it('hold as much as their size says, which grows and shrinks', async () => {
    const write = async (mebibytes: number) => {
      const { stderr } = await inside(
        `dd if=/dev/urandom of=/data/big bs=1M count=${mebibytes}; sync; rm -f /data/big; sync`,
      );
      return /quota exceeded|No space left/.test(stderr) ? 'full' : 'fits';
    };
    const resize = (size: string) => volume('set', 'default', web, 'size', size, '--target', 'host2');
    expect(await write(30)).toBe('full');
    expect(await resize('40MiB')).toEqual(ok(''));
    expect(await volume('get', 'default', web, 'size', '--target', 'host2')).toEqual(ok('40MiB\n'));
    expect(await write(30)).toBe('fits');
    // ZFS frees what was removed a moment later, and refuses a size below what is used.
    await waitFor('the smaller size', async () => ((await resize('10MiB')).code === 0 ? true : undefined));
    expect(await write(30)).toBe('full');
    expect(await volume('unset', 'default', web, 'size', '--target', 'host2')).toEqual(ok(''));
    expect(await write(50)).toBe('fits');
    const { stdout } = await volume('info', 'default', web, '--target', 'host2');
    expect(stdout).toContain(`Name: ${web}\nType: custom\nContent type: filesystem\nLocation: host2\n`);
    expect(stdout).toMatch(/\nUsage: [\d.]+\w+\n/);
  });

  it('are there after a restart, and gone when they are detached', async () => {
    expect((await lxc('restart', '-f', instance)).code).toBe(0);
    expect((await inside('stat -c %u:%g /data/kept')).stdout).toBe('1000:1001\n');
    expect(await volume('detach', 'default', web, instance, 'data')).toEqual(ok(''));
    expect((await inside('ls /data')).stdout).toBe('');
    expect(await volume('attach', 'default', web, instance, 'data', '/data')).toEqual(ok(''));
    expect((await inside('ls /data')).stdout).toBe('kept\n');
  });

  it('are kept while they are used', async () => {
    expect(await volume('delete', 'default', web, '--target', 'host2')).toEqual(
      refused('The storage volume is still in use'),
    );
    expect(await volume('rename', 'default', web, named('other'), '--target', 'host2')).toEqual(
      refused('Volume is still in use by running instances'),
    );
  });

  it('are attached on their own member only, and take a new instance there', async () => {
    const local = named('local');
    await volume('create', 'default', local, '--target', 'host3');
    expect(await volume('attach', 'default', local, instance, 'x', '/x')).toEqual(
      refused('Failed add validation for device "x": Failed loading custom volume: Storage volume not found'),
    );
    const profile = named('with-volume');
    await lxc('profile', 'copy', 'default', profile);
    await lxc('profile', 'device', 'add', profile, 'data', 'disk', 'pool=default', `source=${local}`, 'path=/data');
    expect((await lxc('launch', 'tiny', elsewhere, '-p', profile)).code).toBe(0);
    expect((await lxc('exec', elsewhere, '--', 'touch', '/data/mine')).code).toBe(0);
    const shown = (await volume('show', 'default', local)).stdout;
    expect(shown).toContain(`used_by:\n- /1.0/instances/${elsewhere}\n- /1.0/profiles/${profile}\nlocation: host3\n`);
    await removeInstances([elsewhere]);
    await lxc('profile', 'delete', profile);
    expect(await volume('delete', 'default', local)).toEqual(ok(`Storage volume ${local} deleted\n`));
  });

  it('are quotas on zfs, too, for a privileged instance', async () => {
    const zfs = named('zfs');
    await volume('create', 'tank', zfs, 'size=20MiB', '--target', 'host2');
    expect((await lxc('launch', 'tiny', elsewhere, '-s', 'tank', '--target', 'host2')).code).toBe(0);
    expect(await volume('attach', 'tank', zfs, elsewhere, 'data', '/data')).toEqual(ok(''));
    const { stderr } = await lxc('exec', elsewhere, '--', 'dd', 'if=/dev/urandom', 'of=/data/big', 'bs=1M', 'count=40');
    expect(stderr).toMatch(/quota exceeded|No space left/);
    await removeInstances([elsewhere]);
    expect(await volume('delete', 'tank', zfs)).toEqual(ok(`Storage volume ${zfs} deleted\n`));
  });

  it('get another name, and go', async () => {
    const [first, second] = [named('first'), named('second')];
    expect(await volume('create', 'tank', first)).toEqual(ok(`Storage volume ${first} created\n`));
    expect(await volume('rename', 'tank', first, second)).toEqual(
      ok(`Renamed storage volume from "${first}" to "${second}"\n`),
    );
    expect((await volume('show', 'tank', first)).stderr).toBe('Error: Storage volume not found\n');
    expect(await volume('delete', 'tank', second)).toEqual(ok(`Storage volume ${second} deleted\n`));
  });

  it('are not copied, snapshotted, exported or imported, and say so', async () => {
    const name = named('refusing');
    await volume('create', 'default', name);
    for (const args of [
      ['copy', `default/${name}`, `default/${name}2`],
      ['snapshot', 'default', name],
      ['export', 'default', name, `/tmp/${name}.tar.gz`],
    ]) {
      const { stderr, code } = await volume(...args);
      expect({ args, code, clear: /not supported|missing the required/.test(stderr) }).toEqual({
        args,
        code: 1,
        clear: true,
      });
    }
    await volume('delete', 'default', name);
  });
});
