import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { lstat, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, lxc, newName, removeInstances, waitFor } from './support.ts';

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
    const peak = { ...before };
    let isOver = false;
    const transfer = (async () => {
      expect(await lxc('file', 'push', join(directory, 'large'), `${name}/root/large`)).toMatchObject({ code: 0 });
      expect(await lxc('file', 'pull', `${name}/root/large`, join(directory, 'back'))).toMatchObject({ code: 0 });
    })().finally(() => {
      isOver = true;
    });
    await waitFor('the transfer to end', async () => {
      for (const [part, bytes] of Object.entries(await cluster.residentBytes())) {
        peak[part] = Math.max(peak[part] ?? 0, bytes);
      }
      return isOver || undefined;
    });
    await transfer;
    expect(sha256(await readFile(join(directory, 'back')))).toBe(sha256(content));
    // A transfer that was held in memory anywhere would show as at least its own size.
    const grown = Object.entries(peak).filter(([part, bytes]) => bytes - (before[part] ?? 0) > 80 * 1000 * 1000);
    expect(grown).toEqual([]);
  });

  it('leaves nothing of a push whose client dies half-way', async () => {
    const [file, args, env] = cluster.lxcCommand(['file', 'push', '-', `${name}/root/half`]);
    const client = spawn(file, args, { env, stdio: ['pipe', 'ignore', 'ignore'] });
    const isThere = async () => (await lxc('exec', name, '--', 'test', '-s', '/root/half')).code === 0;
    client.stdin.write(randomBytes(5 * 1000 * 1000));
    await waitFor('the first bytes to arrive', async () => (await isThere()) || undefined);
    client.kill('SIGKILL');
    await waitFor('the file to be removed', async () => !(await isThere()) || undefined);
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
});

describe('links that a container sets', () => {
  /** A file that only the host has, its own key: whoever reads it is the member. */
  const secret = '/etc/longshore/agent.key';
  const onHost = async (...argv: string[]) => (await cluster.host(2).exec(argv)).stdout;
  const inside = async (script: string) => {
    expect(await lxc('exec', hostile, '--', 'sh', '-c', script)).toMatchObject({ code: 0, stderr: '' });
  };
  const hostile = newName('hostile');
  beforeAll(async () => {
    expect(await lxc('launch', 'tiny', hostile, '--target', 'host2')).toMatchObject({ code: 0 });
  });
  afterAll(() => removeInstances([hostile]));

  it.each([
    ['an absolute link', `ln -s ${secret} /root/absolute`, 'root/absolute'],
    ['a link that climbs', `ln -s ../../../../../..${secret} /root/climbing`, 'root/climbing'],
    ['a linked directory', 'ln -s / /root/slash', `root/slash${secret}`],
    ['a magic link', `ln -s /proc/self/root${secret} /root/magic`, 'root/magic'],
    ['the root of the host’s init', `ln -s /proc/1/root/..${secret} /root/init`, 'root/init'],
  ])('never read a file of the host: %s', async (_case, plant, path) => {
    const content = await onHost('cat', secret);
    expect(content).toContain('PRIVATE KEY');
    await inside(plant);
    const target = join(directory, newName('leak'));
    // A pulled link is made again, on the client's disk; a pull to the terminal follows it, in the container.
    await lxc('file', 'pull', `${hostile}/${path}`, target);
    if ((await lstat(target).catch(() => null))?.isFile()) {
      expect(await readFile(target, 'utf8')).not.toContain(content);
    }
    expect(await lxc('file', 'pull', `${hostile}/${path}`, '-')).toMatchObject({
      code: 1,
      stdout: expect.not.stringContaining(content),
    });
  });

  it('never write, make or delete anything on the host', async () => {
    const before = await onHost('find', '/etc/longshore', '-printf', '%p %s %T@\n');
    await inside(`ln -s / /root/out; ln -s /etc/longshore /root/directory; ln -s ${secret} /root/key`);
    await writeFile(join(directory, 'planted'), 'planted');
    const planted = join(directory, 'planted');
    // The same paths as on the host, here those of the container: some are there, some are not.
    await lxc('file', 'push', planted, `${hostile}/root/directory/planted`);
    await lxc('file', 'push', '-p', planted, `${hostile}/root/out/etc/longshore/below/planted`);
    await lxc('file', 'push', planted, `${hostile}/root/key`);
    await lxc('file', 'delete', `${hostile}/root/directory/agent.yaml`);
    await lxc('file', 'delete', `${hostile}/root/out${secret}`);
    expect(await onHost('find', '/etc/longshore', '-printf', '%p %s %T@\n')).toBe(before);
    expect((await lxc('exec', hostile, '--', 'cat', '/etc/longshore/below/planted')).stdout).toBe('planted');
  });
});
