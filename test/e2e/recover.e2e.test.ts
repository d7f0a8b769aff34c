/** The whole database is lost, and the cluster is put together again from its hosts. A cluster of its own: this one is not shared. */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inRepository } from '#selfhost/paths.ts';
import { lxc as runLxc } from '#selfhost/playground/client.ts';
import { bootControl, crashControl, getHost } from '#selfhost/playground/cluster.ts';
import { execInHost } from '#selfhost/playground/host.ts';
import { run } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';
import { startWorld, type World } from '#test/faults/world.ts';

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const LIMIT = { timeoutMs: 60_000, everyMs: 200 };

const lxc = (...args: string[]) => runLxc(world.playground.client, args);
async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  if (code !== 0) throw new Error(`lxc ${args.join(' ')}: ${stderr}`);
  return stdout;
}
const onHost = (number: number, ...argv: string[]) =>
  execInHost(getHost(world.playground, number), argv, { allowFailure: true });
const controlDir = () => path.join(world.playground.run.dir, 'control');
const recover = (...args: string[]) =>
  run(inRepository('bin/longshore'), ['recover', '--data', controlDir(), ...args], {
    allowFailure: true,
    timeoutMs: 200_000,
  });

/** What people look at, as the client shows it. */
const VIEWS: string[][] = [
  ['list', '--all-projects', '-f', 'csv', '-c', 'ensPL4'],
  ['config', 'show', 'web1'],
  ['config', 'show', 'web2'],
  ['config', 'show', 'inner', '--project', 'dev'],
  ['config', 'get', 'user.motto'],
  ['profile', 'show', 'default'],
  ['profile', 'show', 'web'],
  ['project', 'show', 'dev'],
  ['storage', 'show', 'default'],
  ['storage', 'show', 'default', '--target', 'host1'],
  ['storage', 'volume', 'list', 'default', '-f', 'csv'],
  ['storage', 'volume', 'show', 'default', 'data', '--target', 'host1'],
  ['network', 'show', 'lxdbr0'],
  ['network', 'show', 'lxdbr0', '--target', 'host2'],
  ['image', 'list', '-f', 'csv', '-c', 'lfpdas'],
  ['cluster', 'show', 'host3'],
];
async function look(): Promise<Record<string, string>> {
  const shown: Record<string, string> = {};
  for (const view of VIEWS) shown[view.join(' ')] = await ok(...view);
  return shown;
}
const pidOf = async (name: string) =>
  (JSON.parse(await ok('query', `/1.0/instances/${name}/state`)) as { pid: number }).pid;

async function untilKept(number: number, file: string, text: string): Promise<void> {
  await waitFor(
    `${file} of host${number} to have ${text}`,
    async () => (await onHost(number, 'cat', `/var/lib/longshore/${file}`)).stdout.includes(text),
    LIMIT,
  );
}

describe('longshore recover', () => {
  let before: Record<string, string>;
  let pid: number;

  it('brings back what was there from the hosts alone, while instances go on running', async () => {
    await ok('profile', 'create', 'web');
    await ok('profile', 'set', 'web', 'limits.memory=128MiB');
    await ok('project', 'create', 'dev', '-c', 'features.images=false', '-c', 'features.profiles=false');
    await ok('config', 'set', 'user.motto=kept');
    await ok('storage', 'volume', 'create', 'default', 'data', '--target', 'host1');
    await ok('storage', 'volume', 'set', 'default', 'data', 'user.owner=web1', '--target', 'host1');
    await ok('launch', 'tiny', 'web1', '--target', 'host1', '-p', 'default', '-p', 'web', '-c', 'user.role=front');
    await ok('storage', 'volume', 'attach', 'default', 'data', 'web1', '/data');
    await ok('launch', 'tiny', 'web2', '--target', 'host2');
    await ok('stop', '-f', 'web2');
    await ok('launch', 'tiny', 'inner', '--target', 'host3', '--project', 'dev');
    await ok('config', 'set', 'web2', 'user.last=said');
    await ok('exec', 'web1', '--', 'sh', '-c', 'echo here > /data/mark');
    await waitFor(
      'every instance that runs to have its address',
      async () => (await ok('list', '--all-projects', '-f', 'csv', '-c', 's4')).match(/RUNNING,[^,]*\d/g)?.length === 2,
      LIMIT,
    );
    // The hosts' copies follow within seconds.
    await untilKept(1, 'containers/web1/backup.yaml', 'volatile.eth0.hwaddr');
    await untilKept(1, 'containers/web1/backup.yaml', 'source: data');
    await untilKept(2, 'containers/web2/backup.yaml', 'user.last');
    await untilKept(2, 'containers/web2/backup.yaml', 'volatile.last_state.power: STOPPED');
    await untilKept(3, 'containers/dev_inner/backup.yaml', 'volatile.eth0.hwaddr');
    await untilKept(1, 'cluster.yaml', 'user.owner: web1');
    for (const number of world.hosts) await untilKept(number, 'cluster.yaml', 'user.motto');
    before = await look();
    pid = await pidOf('web1');

    await crashControl(world.playground);
    await rm(path.join(controlDir(), 'db'), { recursive: true });
    await bootControl(world.playground);
    expect(await ok('list', '-f', 'csv')).toBe('');

    const unconfirmed = await recover('--hosts', 'host1,host2,host3');
    expect(unconfirmed).toMatchObject({ code: 1, stderr: expect.stringContaining('--yes') });
    expect(await ok('cluster', 'list', '-f', 'csv')).toBe('');

    const done = await recover('--hosts', 'host1,host2,host3', '--yes');
    expect(done).toMatchObject({ code: 0, stderr: '' });
    expect(done.stdout).toMatch(/Taken in: .*3 instances/);
    expect(done.stdout).toContain('longshore rejoin ');
    await waitFor(
      'all members to be back',
      async () => (await ok('cluster', 'list', '-f', 'csv')).match(/ONLINE/g)?.length === 3,
      LIMIT,
    );
    expect(await look()).toEqual(before);
    expect(await pidOf('web1')).toBe(pid);
    expect((await ok('exec', 'web1', '--', 'cat', '/data/mark')).trim()).toBe('here');
    expect(await ok('warning', 'list', '-f', 'csv')).not.toContain('unknown to the cluster');
  });

  it('is a cluster like any other again', async () => {
    await ok('stop', '-f', 'web1');
    await ok('start', 'web1');
    await ok('config', 'set', 'web1', 'limits.processes=200');
    await ok('move', 'web2', '--target', 'host3');
    await ok('launch', 'tiny', 'fresh', '--target', 'host2');
    expect((await ok('exec', 'fresh', '--', 'echo', 'up')).trim()).toBe('up');
    await ok('delete', '-f', 'web1', 'web2', 'fresh');
    await ok('storage', 'volume', 'delete', 'default', 'data', '--target', 'host1');
    expect(await ok('list', '-f', 'csv', '-c', 'n')).toBe('');
  });

  it('finds nothing to do when it is run again', async () => {
    const again = await recover('--yes', '--wait', '1');
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing new') });
    expect(await ok('list', '--all-projects', '-f', 'csv', '-c', 'ns')).toContain('inner,RUNNING');
  });
});
