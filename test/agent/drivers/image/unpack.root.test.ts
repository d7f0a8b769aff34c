import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createImageStore } from '#agent/drivers/image/index.ts';
import { silentLog } from '#agent/log.ts';
import { exec } from '#agent/system/exec.ts';
import { findPathKind } from '#agent/system/fs.ts';
import { directory, type Entry, file, GOOD, hardlink, METADATA, placeImage, symlink, tar, tarGz } from './archives.ts';

let base = '';
let target = '';
const store = () =>
  createImageStore({
    exec,
    dataDir: base,
    log: silentLog,
    fetchPart: () => Promise.reject(new Error('nothing to fetch')),
  });

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'longshore-image-'));
  target = join(base, 'deep/er/target');
  await mkdir(target, { recursive: true });
});
afterEach(() => rm(base, { recursive: true }));

async function unpack(parts: Parameters<typeof placeImage>[1]): Promise<void> {
  await store().unpack(await placeImage(base, parts), target);
}

async function expectGoodTree(): Promise<void> {
  expect(await readFile(join(target, 'rootfs/etc/hostname'), 'utf8')).toBe('tiny\n');
  expect(await readFile(join(target, 'metadata.yaml'), 'utf8')).toBe(METADATA);
  expect((await readdir(target)).sort()).toEqual(['metadata.yaml', 'rootfs', 'templates']);
  expect(await readlink(join(target, 'rootfs/etc/link'))).toBe('/etc/passwd');
  const hard = await lstat(join(target, 'rootfs/etc/hard'));
  expect(hard.ino).toBe((await lstat(join(target, 'rootfs/etc/hostname'))).ino);
  const setuid = await lstat(join(target, 'rootfs/bin'));
  expect([setuid.mode & 0o7777, setuid.uid, setuid.gid]).toEqual([0o4755, 0, 5]);
}

describe('an honest image', () => {
  const compressors = [
    ['xz', ['-0', '-k']],
    ['zstd', ['-q']],
    ['bzip2', ['-k']],
  ] as const;

  it('is unpacked from gzip and from plain tar', async () => {
    await unpack({ unified: await tarGz(GOOD) });
    await expectGoodTree();
    await rm(target, { recursive: true });
    await mkdir(target);
    await unpack({ unified: await tar(GOOD) });
    await expectGoodTree();
  });

  it.each(compressors)('is unpacked from %s', async (program, args) => {
    await writeFile(join(base, 'image.tar'), await tar(GOOD));
    await exec(program, [...args, join(base, 'image.tar')]);
    const packed = (await readdir(base)).find((name) => name.startsWith('image.tar.'));
    await unpack({ unified: await readFile(join(base, packed ?? '')) });
    await expectGoodTree();
  });

  it('is unpacked from a metadata tarball and a root tarball', async () => {
    const root = GOOD.filter((entry) => entry.name.startsWith('rootfs/')).map((entry) => ({
      ...entry,
      name: entry.name.replace('rootfs/', './'),
      ...(entry.type === 'link' ? { linkname: './etc/hostname' } : {}),
    }));
    await unpack({ metadata: await tarGz(GOOD.slice(0, 3)), rootfs: await tarGz(root) });
    await expectGoodTree();
  });

  it('is unpacked from a squashfs without its device nodes', async () => {
    const root = join(base, 'root');
    await mkdir(join(root, 'dev'), { recursive: true });
    await exec('mknod', [join(root, 'dev/null'), 'c', '1', '3']);
    await exec('mknod', [join(root, 'disk'), 'b', '8', '0']);
    await exec('mkfifo', [join(root, 'fifo')]);
    await writeFile(join(root, 'a file'), 'x');
    await chmod(join(root, 'a file'), 0o4711);
    await exec('mksquashfs', [root, join(base, 'root.squashfs'), '-quiet', '-no-progress']);
    await unpack({ metadata: await tarGz(GOOD.slice(0, 3)), rootfs: await readFile(join(base, 'root.squashfs')) });
    expect((await readdir(join(target, 'rootfs'))).sort()).toEqual(['a file', 'dev', 'fifo']);
    expect(await readdir(join(target, 'rootfs/dev'))).toEqual([]);
    expect((await lstat(join(target, 'rootfs/a file'))).mode & 0o7777).toBe(0o4711);
  });

  it('keeps names and links longer than a header', async () => {
    const long = `rootfs/${'d'.repeat(90)}/${'n'.repeat(200)}`;
    await unpack({ unified: await tarGz([...GOOD, file(long, 'long'), symlink('rootfs/l', 'x'.repeat(300))]) });
    expect(await readFile(join(target, long), 'utf8')).toBe('long');
    expect(await readlink(join(target, 'rootfs/l'))).toBe('x'.repeat(300));
  });

  it('is unpacked as GNU tar writes it, with sparse files and file capabilities', async () => {
    await mkdir(join(base, 'src/rootfs'), { recursive: true });
    await writeFile(join(base, 'src/metadata.yaml'), METADATA);
    await writeFile(join(base, 'src/rootfs/ping'), 'x');
    await exec('truncate', ['--size=1M', join(base, 'src/rootfs/hole')]);
    const capability = '0x0100000200200000000000000000000000000000';
    const set = `import os; os.setxattr("${base}/src/rootfs/ping", "security.capability", bytes.fromhex("${capability.slice(2)}"))`;
    await exec('python3', ['-c', set]);
    for (const format of ['gnu', 'pax']) {
      const options = [
        '--sparse',
        ...(format === 'pax' ? ['--xattrs', '--xattrs-include=*'] : []),
        `--format=${format}`,
      ];
      await exec('tar', [...options, '-C', join(base, 'src'), '-cf', join(base, 'gnu.tar'), '.']);
      await unpack({ unified: await readFile(join(base, 'gnu.tar')) });
      expect((await lstat(join(target, 'rootfs/hole'))).size).toBe(2 ** 20);
      if (format === 'pax') {
        const get = `import os; print(os.getxattr("${target}/rootfs/ping", "security.capability").hex())`;
        expect(`0x${(await exec('python3', ['-c', get])).stdout}`).toBe(capability);
      }
      await rm(target, { recursive: true });
      await mkdir(target);
    }
  });

  it('leaves out device nodes and links to them, and keeps FIFOs', async () => {
    const device: Entry = { name: 'rootfs/sda', type: 'block-device', devmajor: 8, devminor: 0 };
    const entries = [
      ...GOOD,
      device,
      hardlink('rootfs/alias', 'rootfs/sda'),
      { name: 'rootfs/fifo', type: 'fifo' as const },
    ];
    await unpack({ unified: await tarGz(entries) });
    expect((await readdir(join(target, 'rootfs'))).sort()).toEqual(['bin', 'etc', 'fifo']);
  });
});

describe('a hostile image is refused and leaves nothing outside', () => {
  const cases: [string, Entry[]][] = [
    ['a name that climbs', [file('../evil', 'x')]],
    ['a name that climbs from within', [file('rootfs/../../../evil', 'x')]],
    ['an absolute name', [file('/tmp/longshore-evil', 'x')]],
    ['a name that does not belong', [file('evil', 'x')]],
    ['a file through a link that climbs', [symlink('rootfs/up', '../..'), file('rootfs/up/evil', 'x')]],
    ['a file through an absolute link', [symlink('rootfs/abs', '/tmp'), file('rootfs/abs/longshore-evil', 'x')]],
    [
      'a file through a hard link to a link',
      [symlink('rootfs/abs', '/tmp'), hardlink('rootfs/again', 'rootfs/abs'), file('rootfs/again/longshore-evil', 'x')],
    ],
    ['a hard link out', [hardlink('rootfs/shadow', '../../../../../../etc/shadow')]],
    ['an absolute hard link', [hardlink('rootfs/shadow', '/etc/shadow')]],
    ['a hard link through a link', [symlink('rootfs/etcs', '/etc'), hardlink('rootfs/shadow', 'rootfs/etcs/shadow')]],
    ['metadata that is a link', [symlink('metadata.yaml', '/etc/passwd')]],
    [
      'metadata that is a hard link to a link',
      [symlink('rootfs/p', '/etc/passwd'), hardlink('metadata.yaml', 'rootfs/p')],
    ],
    ['a template that is a link', [symlink('templates/t', '/etc/shadow')]],
    ['a root that is a link', [symlink('rootfs', '/')]],
    ['a long name that climbs', [file(`rootfs/${'../'.repeat(60)}tmp/longshore-evil`, 'x')]],
  ];

  it.each(cases)('%s', async (_, entries) => {
    await expect(unpack({ unified: await tarGz([...GOOD, ...entries]) })).rejects.toMatchObject({
      code: 'bad_request',
      message: expect.stringMatching(/^Invalid image archive: entry/),
    });
    expect(await findPathKind('/tmp/longshore-evil')).toBeNull();
    expect(await findPathKind(join(base, 'evil'))).toBeNull();
    expect((await readdir(join(base, 'deep'), { recursive: true })).filter((name) => name.includes('evil'))).toEqual(
      [],
    );
  });

  it('a root tarball that climbs', async () => {
    const rootfs = await tarGz([directory('./'), file('../evil', 'x')]);
    await expect(unpack({ metadata: await tarGz(GOOD.slice(0, 3)), rootfs })).rejects.toMatchObject({
      code: 'bad_request',
    });
    expect(await findPathKind(join(target, 'evil'))).toBeNull();
  });

  it('a truncated archive', async () => {
    const whole = await tarGz([...GOOD, file('rootfs/big', 'random'.repeat(5000))]);
    const unified = whole.subarray(0, whole.length - 40);
    await expect(unpack({ unified })).rejects.toMatchObject({ code: 'bad_request' });
    const plain = (await tar(GOOD)).subarray(0, 2000);
    await expect(unpack({ unified: plain })).rejects.toThrow();
  });

  it('an image without a root file system', async () => {
    await expect(unpack({ unified: await tarGz(GOOD.slice(0, 3)) })).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('a file that is no archive', async () => {
    await expect(unpack({ unified: Buffer.from('#!/bin/sh\n') })).rejects.toMatchObject({
      code: 'bad_request',
      message: 'Unsupported compression',
    });
  });
});
