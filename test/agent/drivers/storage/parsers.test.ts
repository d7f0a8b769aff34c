import { describe, expect, it } from 'vitest';
import { listNested, parseReferencedBytes, parseSubvolumes } from '#agent/drivers/storage/btrfs-parse.ts';
import { mountOptions } from '#agent/drivers/storage/btrfs-pool.ts';
import { kernelTakesIdmap, zfsTakesIdmap } from '#agent/drivers/storage/idmap-support.ts';
import { chooseRoot } from '#agent/drivers/storage/zfs-pool.ts';
import { createZfsTool, isAbsent, parseProperties } from '#agent/drivers/storage/zfs-tool.ts';
import { type Exec, ExecError } from '#agent/system/exec.ts';
import { createKeyedLock } from '#agent/system/lock.ts';
import { defaultDiskSizeBytes } from '#agent/system/loop.ts';
import { parseMountinfo } from '#agent/system/mounts.ts';

const GIB = 2 ** 30;

describe('zfs output', () => {
  it('is read per dataset, tabs in values included', () => {
    const text = 't/containers/c1\tmounted\tyes\nt/containers/c1\tmountpoint\t/a\tb\nt/x@readonly\ttype\tsnapshot\n';
    expect([...parseProperties(text)]).toEqual([
      ['t/containers/c1', { mounted: 'yes', mountpoint: '/a\tb' }],
      ['t/x@readonly', { type: 'snapshot' }],
    ]);
  });

  it('tells an absent dataset from a failed query', async () => {
    const fail = (stderr: string) => createZfsTool(() => Promise.reject(new ExecError('zfs', 1, stderr)));
    expect(await fail("cannot open 't/nope': dataset does not exist").find('t/nope', ['type'])).toBeNull();
    await expect(fail('internal error: out of memory').find('t/x', ['type'])).rejects.toThrow('out of memory');
    expect(isAbsent(new Error('dataset does not exist'))).toBe(false);
  });

  it.each([
    'connect: No such file or directory\nPlease make sure that the zfs-fuse daemon is running.\ninternal error: failed to initialize ZFS library',
    "The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs' as root to load them.",
  ])('says so when ZFS cannot be reached: %j', async (stderr) => {
    const tool = createZfsTool(() => Promise.reject(new ExecError('zpool', 1, stderr)));
    await expect(tool.zpool('list')).rejects.toMatchObject({ code: 'failed', message: /Cannot reach ZFS/ });
  });
});

describe('what may mount', () => {
  const commandOf = async (version: string | null, ...args: string[]) => {
    const calls: string[] = [];
    const exec: Exec = async (file, rest) => {
      calls.push([file, ...rest].join(' '));
      return { stdout: '', stderr: '', exitCode: 0 };
    };
    await createZfsTool(exec, () => Promise.resolve(version)).zfs(...args);
    return calls.join();
  };

  it.each(['mount p/c', 'clone p/i@readonly p/c', 'create p/c', 'rename p/a p/b', 'set mountpoint=/x p/c'])(
    'takes turns with zfs-fuse, which two mounts at once hang: %s',
    async (command) => {
      const args = command.split(' ');
      expect(await commandOf(null, ...args)).toBe(`flock --no-fork /run/zfs/longshore.lock zfs ${command}`);
      expect(await commandOf('2.3.9-1', ...args)).toBe(`zfs ${command}`);
    },
  );

  it.each(['get -Hp type p/c', 'unmount p/c', 'destroy -r p/c', 'set refquota=none p/c'])(
    'and nothing else does: %s',
    async (command) => {
      expect(await commandOf(null, ...command.split(' '))).toBe(`zfs ${command}`);
    },
  );
});

describe('btrfs output', () => {
  const listing = `ID 256 gen 8 parent 5 top level 5 path b
ID 257 gen 7 parent 256 top level 256 path b/rootfs/n1
ID 258 gen 7 parent 257 top level 257 path b/rootfs/n1/n 2
ID 259 gen 8 parent 5 top level 5 path c
`;
  it('gives nested subvolumes, the innermost first', () => {
    expect(listNested(parseSubvolumes(listing), 256)).toEqual([258, 257]);
    expect(listNested(parseSubvolumes(listing), 259)).toEqual([]);
  });

  it('gives what a subvolume refers to', () => {
    const show = `Qgroupid    Referenced    Exclusive   Path 
--------    ----------    ---------   ---- 
0/259         20955136     19906560   c
`;
    expect(parseReferencedBytes(show, 259)).toBe(20955136);
    expect(parseReferencedBytes(show, 25)).toBeNull();
  });
});

describe('id-mapped mounts', () => {
  it.each([
    ['ext4', 0xef53, '5.12.0', true],
    ['ext4 before its time', 0xef53, '5.10.0-28-amd64', false],
    ['btrfs', 0x9123683e, '6.1.0-18-amd64', true],
    ['btrfs as a signed number', 0x9123683e | 0, '6.1.0', true],
    ['btrfs before its time', 0x9123683e, '5.14.21', false],
    ['fuse', 0x65735546, '6.18.44', false],
    ['overlay', 0x794c7630, '6.18.44', false],
  ])('are known of %s', (_, magic, kernel, taken) => {
    expect(kernelTakesIdmap(magic, kernel)).toBe(taken);
  });

  it.each([
    [null, false],
    ['2.1.11-1', false],
    ['2.2.0-1', true],
    ['2.3.9-1', true],
    ['10.0.0', true],
  ])('are known of ZFS %s', (version, taken) => {
    expect(zfsTakesIdmap(version, '6.1.0')).toBe(taken);
  });
});

describe('pool keys', () => {
  const pool = (config: Record<string, string>, name = 'default') => ({ name, driver: 'zfs' as const, config });
  it.each([
    [{}, 'default'],
    [{ source: '/dev/sdb' }, 'default'],
    [{ source: '/dev/sdb', 'zfs.pool_name': 'tank' }, 'tank'],
    [{ source: 'tank/lxd' }, 'tank/lxd'],
  ])('%j name the ZFS root %s', (config, root) => {
    expect(chooseRoot(pool(config))).toBe(root);
  });
  it.each([
    [{ source: 'tank', 'zfs.pool_name': 'other' }],
    [{ source: '-f' }],
    [{ 'zfs.pool_name': 'a@b' }],
    [{ 'zfs.pool_name': 'a/../b' }],
    [{ source: '/dev/sdb', 'zfs.pool_name': 'a/b' }],
  ])('%j are refused', (config) => {
    expect(() => chooseRoot(pool(config))).toThrow(expect.objectContaining({ code: 'bad_request' }));
  });
  it('never give up nodev', () => {
    expect(mountOptions({ ...pool({ 'btrfs.mount_options': 'compress=zstd,dev' }), driver: 'btrfs' })).toMatch(
      /,nodev$/,
    );
  });
  it('default to a fifth of the free space, between 5 and 30 GiB', () => {
    expect([10 * GIB, 80 * GIB, 900 * GIB].map((free) => defaultDiskSizeBytes(free) / GIB)).toEqual([5, 16, 30]);
  });
});

describe('the host', () => {
  it('has its mounts read with escapes undone', () => {
    const text = '43 27 0:39 / /tmp/a\\040b rw,nodev,relatime shared:1 - btrfs /dev/loop0 rw,discard=async\nnonsense\n';
    expect(parseMountinfo(text)).toEqual([
      { path: '/tmp/a b', source: '/dev/loop0', type: 'btrfs', root: '/', options: ['rw', 'nodev', 'relatime'] },
    ]);
  });

  it('runs work under one key in order, and under others at once', async () => {
    const lock = createKeyedLock();
    const order: string[] = [];
    let open = () => {};
    const blocked = new Promise<void>((resolve) => {
      open = resolve;
    });
    const first = lock.run('a', async () => {
      await blocked;
      order.push('a1');
      throw new Error('a1 failed');
    });
    const second = lock.run('a', async () => void order.push('a2'));
    await lock.run('b', async () => void order.push('b'));
    open();
    await expect(first).rejects.toThrow('a1 failed');
    await second;
    expect(order).toEqual(['b', 'a1', 'a2']);
  });
});

describe('a connection that zfs-fuse drops', () => {
  it('is made again for a question, a few times, and not for what changes something', async () => {
    const dropped = new ExecError('zfs', 1, 'internal error: Connection reset by peer');
    let left = 2;
    const calls: string[][] = [];
    const tool = createZfsTool(async (_file, args) => {
      calls.push([...args]);
      left -= 1;
      if (left >= 0) throw dropped;
      return { stdout: '', stderr: '', exitCode: 0 };
    });
    await tool.zfs('get', 'type', 'tank');
    expect(calls).toEqual(Array.from({ length: 3 }, () => ['get', 'type', 'tank']));
    left = 100;
    await expect(tool.zfs('get', 'type', 'tank')).rejects.toThrow('Connection reset by peer');
    expect(calls.length).toBeLessThan(10);
    const asked = calls.length;
    await expect(tool.zfs('unmount', 'tank/c1')).rejects.toThrow('Connection reset by peer');
    expect(calls).toHaveLength(asked + 1);
  });
});
