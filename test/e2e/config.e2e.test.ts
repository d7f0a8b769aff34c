import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from '@lydell/node-pty';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, newName, removeInstances, table } from './support.ts';

const name = newName('config');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(() => removeInstances([name]));

/** Whether a program inside can hold so much memory. */
async function canTake(instance: string, megabytes: number): Promise<boolean> {
  const bytes = megabytes * 1_000_000;
  const command = `head -c ${bytes} /dev/zero | tail -c ${bytes - 1} | wc -c`;
  return (await lxc('exec', instance, '--', 'sh', '-c', command)).stdout.trim() === String(bytes - 1);
}

describe('configuration by the stock client', () => {
  it('enforces limits.memory on the running instance', async () => {
    expect(await lxc('config', 'set', name, 'limits.memory', '128MiB')).toMatchObject({ code: 0 });
    expect(await canTake(name, 150)).toBe(false);
    expect(await lxc('config', 'unset', name, 'limits.memory')).toMatchObject({ code: 0 });
    expect(await canTake(name, 150)).toBe(true);
  });

  it('enforces what was set while the instance was stopped', async () => {
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
    expect(await lxc('config', 'set', name, 'limits.memory', '64MiB')).toMatchObject({ code: 0 });
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
    expect(await canTake(name, 80)).toBe(false);
    expect(await lxc('config', 'unset', name, 'limits.memory')).toMatchObject({ code: 0 });
  });

  it('carries an edited profile to the instances that use it and run, and says which could not follow', async () => {
    const profile = newName('limited');
    await lxc('profile', 'create', profile);
    await lxc('profile', 'add', name, profile);
    await editWith(['profile', 'edit', profile], `sed -i 's/^config: {}/config:\\n  limits.memory: 64MiB/' "$1"`);
    expect((await lxc('profile', 'get', profile, 'limits.memory')).stdout).toBe('64MiB\n');
    expect(await canTake(name, 80)).toBe(false);
    await lxc('profile', 'unset', profile, 'limits.memory');
    expect(await canTake(name, 80)).toBe(true);
    expect(
      await lxc('profile', 'device', 'add', profile, 'data', 'disk', 'source=/nonexistent', 'path=/mnt'),
    ).toMatchObject({
      stderr: `Error: The following instances failed to update (profile change still saved):\n - Project: default, Instance: ${name}: Failed add validation for device "data": Missing source path "/nonexistent" for disk "data"\n\n`,
      code: 1,
    });
    expect(await lxc('profile', 'device', 'remove', profile, 'data')).toMatchObject({ code: 0 });
    await lxc('profile', 'remove', name, profile);
    await lxc('profile', 'delete', profile);
  });

  it('keeps nothing of a change that the member refuses', async () => {
    const before = (await instancesOf([name]))[0];
    const device = ['config', 'device', 'add', name, 'data', 'disk', 'source=/nonexistent', 'path=/mnt'];
    expect(await lxc(...device)).toEqual({
      stdout: '',
      stderr: 'Error: Failed add validation for device "data": Missing source path "/nonexistent" for disk "data"\n',
      code: 1,
    });
    expect((await instancesOf([name]))[0]).toMatchObject({ config: before?.config, devices: before?.devices });
    expect(await lxc('config', 'set', name, 'user.after', 'fine')).toMatchObject({ code: 0 });
  });

  it('refuses an unknown key with LXD’s text and changes nothing', async () => {
    const before = (await instancesOf([name]))[0]?.config;
    const refused = await lxc('config', 'set', name, 'nope.key', '1');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('Unknown configuration key: nope.key');
    expect((await instancesOf([name]))[0]?.config).toEqual(before);
  });

  it('shows the profile’s devices only with --expanded', async () => {
    const own = (await lxc('config', 'show', name)).stdout;
    expect(own).toContain('devices: {}');
    const expanded = (await lxc('config', 'show', name, '--expanded')).stdout;
    expect(expanded).toMatch(/root:\n\s+path: \/\n\s+pool: default\n\s+type: disk/);
    expect(expanded).toContain('image.os: busybox');
  });

  it('lists, shows and edits profiles', async () => {
    const profile = newName('profile');
    expect((await lxc('profile', 'create', profile)).stdout).toBe(`Profile ${profile} created\n`);
    const edited = await cluster.lxc(['profile', 'edit', profile], {
      input: 'description: for tests\nconfig:\n  user.team: red\ndevices: {}\n',
    });
    expect(edited).toMatchObject({ code: 0 });
    expect((await lxc('profile', 'show', profile)).stdout).toContain('user.team: red');
    expect(table((await lxc('profile', 'list')).stdout).header).toEqual(['NAME', 'DESCRIPTION', 'USED BY']);
    expect(await lxc('profile', 'add', name, profile)).toMatchObject({ code: 0 });
    expect((await instancesOf([name]))[0]?.expanded_config['user.team']).toBe('red');
    expect((await lxc('profile', 'delete', profile)).stderr).toContain('currently in use');
    expect(await lxc('profile', 'remove', name, profile)).toMatchObject({ code: 0 });
    expect((await lxc('profile', 'delete', profile)).stdout).toBe(`Profile ${profile} deleted\n`);
  });

  it('refuses an edit that was made on an older version of the object, as the editor is told', async () => {
    const profile = newName('edited');
    await lxc('profile', 'create', profile);
    const shown = await editWith(
      ['profile', 'edit', profile],
      `lxc profile set ${profile} user.meanwhile=1; sed -i 's/^description:.*/description: too late/' "$1"`,
    );
    expect(shown).toMatch(/Config parsing error: ETag doesn't match: [0-9a-f]{64} vs [0-9a-f]{64}/);
    const kept = (await lxc('profile', 'show', profile)).stdout;
    expect(kept).toContain('user.meanwhile: "1"');
    expect(kept).toContain('description: ""');
    await lxc('profile', 'delete', profile);
  });
});

/**
 * Runs `lxc … edit` on a terminal with an editor that is this shell script, its `$1` the file. Resolves to what the terminal
 * shows when the client has ended or asks whether to open the editor again (then it is interrupted).
 */
async function editWith(args: string[], script: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'longshore-editor-'));
  try {
    const editor = join(dir, 'editor');
    await writeFile(editor, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const [file, words, env] = cluster.lxcCommand(args);
    const terminal = spawn(file, words, { cols: 200, rows: 40, env: { ...env, EDITOR: editor, VISUAL: '' } });
    let shown = '';
    terminal.onData((data) => {
      shown += data;
      if (shown.includes('ctrl+c to abort')) terminal.kill('SIGINT');
    });
    await new Promise<void>((resolve) => {
      terminal.onExit(() => resolve());
    });
    return shown;
  } finally {
    await rm(dir, { recursive: true });
  }
}
