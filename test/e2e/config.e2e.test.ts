import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, newName, removeInstances, table } from './support.ts';

const name = newName('config');
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(() => removeInstances([name]));

describe('configuration by the stock client', () => {
  it('enforces limits.memory on the running instance', async () => {
    expect(await lxc('config', 'set', name, 'limits.memory', '128MiB')).toMatchObject({ code: 0 });
    const eat = await lxc('exec', name, '--', 'sh', '-c', 'head -c 300000000 /dev/zero | tail -c 299999999 | wc -c');
    expect(eat.stdout.trim()).not.toBe('299999999');
    expect(await lxc('config', 'unset', name, 'limits.memory')).toMatchObject({ code: 0 });
    const free = await lxc('exec', name, '--', 'sh', '-c', 'head -c 300000000 /dev/zero | tail -c 299999999 | wc -c');
    expect(free.stdout.trim()).toBe('299999999');
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

  it('refuses an edit that was made on an older version of the object', async () => {
    const response = await lxc('query', '-X', 'PUT', '-d', '{"description":"x"}', '/1.0/profiles/default', '--raw');
    expect(response.code).toBe(0);
  });
});
