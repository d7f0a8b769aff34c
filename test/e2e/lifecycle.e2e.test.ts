import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { instancesOf, lxc, lxcJson, newName, removeInstances, waitFor } from './support.ts';

const name = newName('life');
const created = [name];
beforeAll(async () => {
  expect((await lxc('launch', 'tiny', name)).code).toBe(0);
});
afterAll(() => removeInstances(created));

const addressOf = async (instance: string) => (await lxc('list', `^${instance}$`, '--format', 'csv', '-c', '4')).stdout;
const statusOf = async (instance: string) => (await instancesOf([instance]))[0]?.status;

describe('an instance’s life by the stock client', () => {
  it('pauses and resumes', async () => {
    expect(await lxc('pause', name)).toMatchObject({ code: 0 });
    expect(await statusOf(name)).toBe('Frozen');
    expect((await lxc('exec', name, '--', 'true')).stderr).toContain('Instance is frozen');
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
    expect(await statusOf(name)).toBe('Running');
  });

  it('restarts into a new init', async () => {
    const pid = async () => ((await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number }).pid;
    const before = await pid();
    expect(await lxc('restart', '-f', name)).toMatchObject({ code: 0 });
    expect(await statusOf(name)).toBe('Running');
    expect(await pid()).not.toBe(before);
  });

  it('stops cleanly and by force, and says so when it is stopped already', async () => {
    expect(await lxc('stop', name)).toMatchObject({ code: 0 });
    expect(await statusOf(name)).toBe('Stopped');
    const again = await lxc('stop', name);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('The instance is already stopped');
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
    const running = await lxc('start', name);
    expect(running.code).toBe(1);
    expect(running.stderr).toContain('The instance is already running');
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
  });

  it('shows a container that stopped by itself within 2 s', async () => {
    await lxc('start', name);
    await lxc('exec', name, '--', 'sh', '-c', 'kill -USR1 1');
    await waitFor('the stop to be seen', async () => ((await statusOf(name)) === 'Stopped' ? true : undefined), 5_000);
  });

  it('is renamed when stopped, keeping its location and its address, and refuses it when running', async () => {
    const renamed = newName('renamed');
    await lxc('start', name);
    const before = await addressOf(name);
    await lxc('stop', '-f', name);
    const { location } = (await instancesOf([name]))[0] ?? {};
    expect(await lxc('rename', name, renamed)).toMatchObject({ code: 0 });
    created.splice(0, 1, renamed);
    expect((await instancesOf([renamed]))[0]?.location).toBe(location);
    expect(await lxc('start', renamed)).toMatchObject({ code: 0 });
    expect(await addressOf(renamed)).toBe(before);
    const refused = await lxc('rename', renamed, name);
    expect(refused).toMatchObject({ code: 1, stderr: 'Error: Renaming of running container not allowed\n' });
    expect(await lxc('stop', '-f', renamed)).toMatchObject({ code: 0 });
    expect(await lxc('rename', renamed, name)).toMatchObject({ code: 0 });
    created.splice(0, 1, name);
  });

  it('is not deleted while it runs, unless forced', async () => {
    await lxc('start', name);
    const refused = await lxc('delete', name);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('running');
    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
    expect(await instancesOf([name])).toEqual([]);
  });

  it('deletes an ephemeral instance when it stops', async () => {
    const ephemeral = newName('ephemeral');
    created.push(ephemeral);
    expect(await lxc('launch', 'tiny', ephemeral, '-e')).toMatchObject({ code: 0 });
    expect(await lxc('stop', '-f', ephemeral)).toMatchObject({ code: 0 });
    await waitFor('the instance to go', async () => ((await instancesOf([ephemeral])).length === 0 ? true : undefined));
  });
});
