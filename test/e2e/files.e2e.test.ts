import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, newName, removeInstances } from './support.ts';

const name = newName('files');
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'longshore-files-'));
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(async () => {
  await removeInstances([name]);
  await rm(directory, { recursive: true });
});

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('lxc file', () => {
  it('carries 100 MB there and back identical, with flat memory in the control plane and the agent', async () => {
    const content = randomBytes(100 * 1000 * 1000);
    await writeFile(join(directory, 'large'), content);
    const before = await cluster.residentBytes();
    expect(await lxc('file', 'push', join(directory, 'large'), `${name}/root/large`)).toMatchObject({ code: 0 });
    expect(await lxc('file', 'pull', `${name}/root/large`, join(directory, 'back'))).toMatchObject({ code: 0 });
    const after = await cluster.residentBytes();
    expect(sha256(await readFile(join(directory, 'back')))).toBe(sha256(content));
    // A transfer that was held in memory anywhere would show as at least its own size.
    for (const part of Object.keys(after)) {
      expect({ part, grewBy: (after[part] ?? 0) - (before[part] ?? 0) }).toEqual({
        part,
        grewBy: expect.toSatisfy((bytes: number) => bytes < 80 * 1000 * 1000),
      });
    }
  });

  it('keeps mode and owner that were asked for', async () => {
    await writeFile(join(directory, 'script'), '#!/bin/sh\necho hi\n');
    const push = await lxc(
      'file',
      'push',
      '--mode',
      '0750',
      '--uid',
      '1000',
      '--gid',
      '1000',
      join(directory, 'script'),
      `${name}/tmp/script`,
    );
    expect(push).toMatchObject({ code: 0 });
    expect((await lxc('exec', name, '--', 'stat', '-c', '%a %u %g', '/tmp/script')).stdout).toBe('750 1000 1000\n');
  });

  it('makes parent directories with -p and copies a tree with -r', async () => {
    await writeFile(join(directory, 'leaf'), 'leaf');
    expect(await lxc('file', 'push', '-p', join(directory, 'leaf'), `${name}/a/b/leaf`)).toMatchObject({ code: 0 });
    expect(await lxc('file', 'pull', '-r', `${name}/a`, directory)).toMatchObject({ code: 0 });
    expect(await readFile(join(directory, 'a/b/leaf'), 'utf8')).toBe('leaf');
  });

  it('answers LXD’s "Not Found" for a file that is not there', async () => {
    const result = await lxc('file', 'pull', `${name}/no/such`, directory);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('Not Found');
  });

  it('deletes a file, and works on a stopped instance', async () => {
    await writeFile(join(directory, 'gone'), 'gone');
    await lxc('stop', '-f', name);
    expect(await lxc('file', 'push', join(directory, 'gone'), `${name}/root/gone`)).toMatchObject({ code: 0 });
    expect(await lxc('file', 'delete', `${name}/root/gone`)).toMatchObject({ code: 0 });
    expect(await lxc('file', 'pull', `${name}/root/gone`, directory)).toMatchObject({ code: 1 });
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
  });

  it.each([
    ['an absolute link', 'ln -s /etc/shadow /root/absolute', 'root/absolute'],
    ['a link that climbs', 'ln -s ../../../../../../etc/shadow /root/climbing', 'root/climbing'],
    ['a linked directory', 'ln -s / /root/slash', 'root/slash/etc/shadow'],
    ['a magic link', 'ln -s /proc/self/root/etc/shadow /root/magic', 'root/magic'],
  ])('never reads a file of the host through %s', async (_case, plant, path) => {
    await lxc('exec', name, '--', 'sh', '-c', `${plant} 2>/dev/null; true`);
    const host = await readFile('/etc/shadow', 'utf8');
    const target = join(directory, `leak-${randomBytes(3).toString('hex')}`);
    await lxc('file', 'pull', `${name}/${path}`, target);
    const leaked = await readFile(target, 'utf8').catch(() => '');
    expect(leaked).not.toBe(host);
  });
});
