/** `incus` 6.0, unmodified. What it needs another API for than LXD 5.0's is in docs/clients.md. */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findFreePort } from '#selfhost/port.ts';
import { run } from '#selfhost/run.ts';
import { lxc, newName, newNames, removeInstances, waitFor } from '../support.ts';
import { addIncusRemote, type Incus } from './incus.ts';

interface Listed {
  name: string;
  status: string;
  location: string;
  config: Record<string, string>;
  state: { network: Record<string, unknown> | null } | null;
}

const [name = '', other = '', third = ''] = newNames('incus', 3);
const client = newName('incus-client');
let incus: Incus;
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'longshore-incus-test-'));
  incus = await addIncusRemote(client);
});
afterAll(async () => {
  await removeInstances([name, other, third]);
  await incus.remove();
  await rm(directory, { recursive: true });
});

const listed = async (...names: string[]): Promise<Listed[]> =>
  ((await incus.json('list', '--format', 'json')) as Listed[]).filter((it) => names.includes(it.name));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('incus as a client of the cluster', () => {
  it('is trusted by its own certificate after a token was given once', async () => {
    expect(await incus.ok('info')).toContain('auth: trusted');
    const trusted = JSON.parse((await lxc('config', 'trust', 'list', '--format', 'json')).stdout) as { name: string }[];
    expect(trusted.map((it) => it.name)).toContain(client);
  });

  it('launches where it is told to, with config, and lists what runs', async () => {
    await incus.ok('launch', 'tiny', name, '--target', 'host2', '-c', 'limits.memory=64MiB', '-c', 'user.a=b');
    expect(await listed(name)).toMatchObject([
      { name, status: 'Running', location: 'host2', config: { 'limits.memory': '64MiB', 'user.a': 'b' } },
    ]);
    const info = await incus.ok('info', name);
    expect(info).toContain('Status: RUNNING');
    expect(info).toContain('Location: host2');
  });

  it('runs programs, with input, exit codes and both outputs', async () => {
    const script = 'cat; echo problem >&2; exit 3';
    expect(await incus.run(['exec', name, '--', 'sh', '-c', script], { input: 'from outside\n' })).toEqual({
      stdout: 'from outside\n',
      stderr: 'problem\n',
      code: 3,
    });
    expect(await incus.run(['exec', name, '--', 'no-such-program'])).toMatchObject({ code: 127 });
  });

  it('pushes files and trees with owner and mode, and pulls them back identical', async () => {
    const content = randomBytes(20 * 1000 * 1000);
    const tree = join(directory, 'tree');
    await mkdir(join(tree, 'sub'), { recursive: true });
    await writeFile(join(tree, 'large'), content);
    await writeFile(join(tree, 'sub/script'), '#!/bin/sh\n', { mode: 0o750 });
    await symlink('sub/script', join(tree, 'link'));
    await incus.ok('file', 'push', '--recursive', '--create-dirs', tree, `${name}/srv/a`);
    const look = 'cd /srv/a/tree && stat -c "%a %F" sub/script link && readlink link && sha256sum < large';
    const seen = await incus.ok('exec', name, '--', 'sh', '-c', look);
    expect(seen).toBe(`750 regular file\n777 symbolic link\nsub/script\n${sha256(content)}  -\n`);
    await incus.ok('file', 'pull', '--recursive', `${name}/srv/a/tree`, join(directory, 'back'));
    expect(sha256(await readFile(join(directory, 'back/tree/large')))).toBe(sha256(content));
    expect(await readlink(join(directory, 'back/tree/link'))).toBe('sub/script');

    const owned = ['--uid', '1000', '--gid', '1000', '--mode', '0640'];
    await incus.ok('file', 'push', ...owned, join(tree, 'sub/script'), `${name}/srv/owned`);
    expect(await incus.ok('exec', name, '--', 'stat', '-c', '%a %u %g', '/srv/owned')).toBe('640 1000 1000\n');
    expect(await incus.ok('file', 'pull', `${name}/srv/owned`, '-')).toBe('#!/bin/sh\n');
    await incus.ok('file', 'delete', `${name}/srv/owned`);
    const gone = await incus.run(['file', 'pull', `${name}/srv/owned`, '-']);
    expect(gone).toMatchObject({ code: 1, stderr: expect.stringContaining('file does not exist') });
  });

  it('serves the files to any SFTP client, as for a mount', async () => {
    const port = await findFreePort();
    const address = `127.0.0.1:${port}`;
    const [file, args, env] = incus.command(['file', 'mount', name, '--listen', address, '--no-auth']);
    const mount = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    mount.stdout.on('data', (chunk) => {
      said += String(chunk);
    });
    try {
      await waitFor('incus to listen', async () => said.includes('listening') || undefined);
      await writeFile(join(directory, 'note'), 'a note');
      const batch = [
        ...['mkdir /srv/mount', `put ${join(directory, 'note')} /srv/mount/new`, 'chmod 640 /srv/mount/new'],
        ...['rename /srv/mount/new /srv/mount/note', 'ln -s note /srv/mount/link', 'ls -l /srv/mount'],
        ...[`get /srv/mount/note ${join(directory, 'note.back')}`, 'rm /srv/mount/link'],
      ];
      const options = ['-q', '-b', '-', '-P', String(port), '-o', 'StrictHostKeyChecking=no'];
      const known = ['-o', `UserKnownHostsFile=${join(directory, 'known')}`];
      const { stdout } = await run('sftp', [...options, ...known, 'root@127.0.0.1'], { input: batch.join('\n') });
      expect(stdout).toMatch(/^-rw-r----- +0 +0 +6 \S+ \S+ \S*note$/m);
      expect(await readFile(join(directory, 'note.back'), 'utf8')).toBe('a note');
      expect(await incus.ok('exec', name, '--', 'ls', '/srv/mount')).toBe('note\n');
    } finally {
      mount.kill('SIGTERM');
    }
  });

  it('reaches the files of a stopped instance', async () => {
    await incus.ok('stop', '--force', name);
    await writeFile(join(directory, 'late'), 'late');
    await incus.ok('file', 'push', join(directory, 'late'), `${name}/srv/late`);
    await incus.ok('start', name);
    expect(await incus.ok('exec', name, '--', 'cat', '/srv/late')).toBe('late');
  });

  it('sets, reads and unsets config keys', async () => {
    await incus.ok('config', 'set', name, 'user.colour=blue', 'limits.memory=96MiB');
    expect(await incus.ok('config', 'get', name, 'user.colour')).toBe('blue\n');
    expect(await incus.ok('config', 'show', name)).toContain('limits.memory: 96MiB');
    await incus.ok('config', 'unset', name, 'user.colour');
    expect(await incus.ok('config', 'get', name, 'user.colour')).toBe('\n');
    const refused = await incus.run(['config', 'set', name, 'limits.memory=much']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('Invalid value: much');
  });

  it('pauses, resumes, restarts, stops and starts', async () => {
    const statusAfter = async (...args: string[]) => {
      await incus.ok(...args);
      return (await listed(name))[0]?.status;
    };
    expect(await statusAfter('pause', name)).toBe('Frozen');
    expect(await statusAfter('resume', name)).toBe('Running');
    expect(await statusAfter('restart', '--force', name)).toBe('Running');
    expect(await statusAfter('stop', '--force', name)).toBe('Stopped');
    expect(await statusAfter('start', name)).toBe('Running');
  });

  it('copies an instance, renames the copy, moves it to another member and deletes it', async () => {
    await incus.ok('copy', name, other, '--target', 'host1', '--instance-only');
    expect(await listed(other)).toMatchObject([{ status: 'Stopped', location: 'host1', config: { 'user.a': 'b' } }]);
    await incus.ok('move', other, third);
    await incus.ok('move', third, '--target', 'host3');
    expect(await listed(other, third)).toMatchObject([{ name: third, location: 'host3' }]);
    await incus.ok('delete', third);
    expect(await listed(third)).toEqual([]);
  });

  it('makes, changes, uses and deletes a profile', async () => {
    const profile = newName('incus-profile');
    await incus.ok('profile', 'create', profile);
    try {
      await incus.ok('profile', 'set', profile, 'user.from=profile');
      await incus.ok('profile', 'assign', name, `default,${profile}`);
      expect(await incus.ok('config', 'show', '--expanded', name)).toContain('user.from: profile');
      await incus.ok('profile', 'remove', name, profile);
    } finally {
      await incus.ok('profile', 'delete', profile);
    }
  });

  it('shows networks with their leases, pools with their space, and makes volumes', async () => {
    expect(await incus.ok('network', 'show', 'lxdbr0')).toContain('type: bridge');
    expect(await incus.ok('network', 'info', 'lxdbr0', '--target', 'host1')).toContain('Type: broadcast');
    expect(await incus.ok('network', 'list-leases', 'lxdbr0')).toContain(name);
    expect(await incus.ok('storage', 'info', 'default', '--target', 'host1')).toContain('total space:');
    const volume = newName('incus-volume');
    await incus.ok('storage', 'volume', 'create', 'default', volume, '--target', 'host1');
    expect(await incus.ok('storage', 'volume', 'list', 'default')).toContain(volume);
    await incus.ok('storage', 'volume', 'delete', 'default', volume);
  });

  it('lists images, exports one, and is told that the cluster has it when it brings it back', async () => {
    const tiny = (await incus.ok('image', 'list', 'tiny', '--format', 'csv', '--columns', 'F')).trim();
    expect(await incus.ok('image', 'info', 'tiny')).toContain(`Fingerprint: ${tiny}`);
    await incus.ok('image', 'export', 'tiny', directory);
    const files = (await readdir(directory)).filter((file) => file.includes(tiny)).sort((a, b) => b.localeCompare(a));
    expect(files).toHaveLength(2);
    const again = await incus.run(['image', 'import', ...files.map((file) => join(directory, file))]);
    expect(again).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Image with same fingerprint already exists'),
    });
  });

  it('shows the cluster, its members and groups, and gives join tokens out and takes them back', async () => {
    const members = (await incus.json('cluster', 'list', '--format', 'json')) as { server_name: string }[];
    expect(members.map((it) => it.server_name)).toEqual(expect.arrayContaining(['host1', 'host2', 'host3']));
    expect(await incus.ok('cluster', 'show', 'host1')).toContain('server_name: host1');
    expect(await incus.ok('cluster', 'info', 'host1')).toContain('total_ram:');
    expect(await incus.ok('cluster', 'group', 'list')).toContain('default');
    const member = newName('incus-host');
    const token = (await incus.ok('cluster', 'add', member)).trim().split('\n').at(-1) ?? '';
    expect(JSON.parse(Buffer.from(token, 'base64').toString())).toMatchObject({ server_name: member });
    expect(await incus.ok('cluster', 'list-tokens')).toContain(member);
    await incus.ok('cluster', 'revoke-token', member);
    expect(await incus.ok('cluster', 'list-tokens')).not.toContain(member);
  });

  it('makes a project, works in it and deletes it', async () => {
    const project = newName('incus-project');
    await incus.ok('project', 'create', project, '-c', 'features.images=false', '-c', 'features.profiles=false');
    try {
      expect(await incus.ok('project', 'list')).toContain(project);
      const inside = newName('incus-inside');
      await incus.ok('launch', 'tiny', inside, '--project', project);
      expect(await incus.ok('list', '--project', project, '--format', 'csv')).toContain(inside);
      expect(await listed(inside)).toEqual([]);
      await incus.ok('delete', '--force', inside, '--project', project);
    } finally {
      await incus.ok('project', 'delete', project);
    }
  });

  it('lists operations and warnings, and says which extension of the API a command lacks', async () => {
    expect(await incus.ok('operation', 'list')).toContain('Creating instance');
    expect(await incus.ok('warning', 'list')).toContain('SEVERITY');
    const refused = await incus.run(['network', 'acl', 'list']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('"network_acl" API extension') });
  });
});
