/** Hosts whose agent is killed, whose agent is restarted, and whose power fails. Host 3 is the one that suffers. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { api } from './api.ts';
import { cluster, instancesOf, lxc, lxcJson, newName, newNames, removeInstances, waitFor } from './support.ts';
import { tracesOf } from './traces.ts';

const created: string[] = [];
afterAll(() => removeInstances(created));

const victim = cluster.host(3);
const pools = '/var/lib/longshore/storage-pools';

interface Operation {
  status: string;
  err: string;
}

/** Starts a launch on host 3 and answers its operation as soon as it exists. */
async function startLaunch(name: string, pool: string): Promise<string> {
  created.push(name);
  const { body } = await api({
    method: 'POST',
    path: '/1.0/instances?target=host3',
    body: JSON.stringify({
      name,
      type: 'container',
      start: true,
      config: {},
      devices: { root: { type: 'disk', path: '/', pool } },
      source: { type: 'image', alias: 'tiny' },
    }),
  });
  return body.operation ?? '';
}

const endOf = async (operation: string) =>
  (await api({ method: 'GET', path: `${operation}/wait?timeout=60` })).body.metadata as Operation;

/** `kill -9` of the agent, and at once a new one, as the service manager would. */
async function replaceAgent(): Promise<void> {
  await victim.killAgent();
  await victim.startAgent();
}

const statusOf = async (name: string) => (await instancesOf([name]))[0]?.status;

const memberStatus = async (member: string) =>
  ((await lxcJson('query', `/1.0/cluster/members/${member}`)) as { status: string }).status;

const untilMember = (member: string, status: string) =>
  waitFor(`${member} to be ${status}`, async () => (await memberStatus(member)) === status || undefined);

/** The agent answers: until then the API has no leases of host 3 to tell. */
const untilLinked = () =>
  waitFor('host3 to answer', async () => {
    const { stdout } = await lxc('network', 'list-leases', 'lxdbr0', '--format', 'csv');
    return stdout.includes(',host3') || undefined;
  });

/** The launch has its whole effect or none, on the host as in the API. */
async function expectWholeOrNothing(name: string, pool: string, ended: Operation): Promise<void> {
  expect(['Success', 'Failure']).toContain(ended.status);
  const isThere = ended.status === 'Success';
  expect(await instancesOf([name])).toHaveLength(isThere ? 1 : 0);
  await untilLinked();
  if (isThere) {
    await waitFor('it to run', async () => (await statusOf(name)) === 'Running' || undefined);
    expect(await lxc('exec', name, '--', 'true')).toMatchObject({ code: 0 });
    const traces = await tracesOf(3, name);
    expect(traces.processes.filter((line) => line.includes('[lxc monitor]'))).toHaveLength(1);
    expect(traces.leases).toHaveLength(1);
    if (pool === 'tank') expect(traces.datasets).toHaveLength(1);
    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
  }
  const { interfaces: _counted, ...left } = await tracesOf(3, name);
  expect(left).toEqual({ datasets: [], mounts: [], cgroups: [], processes: [], files: [], told: [], leases: [] });
}

/** What the host shows when a launch has come as far as that. */
const MOMENTS: [string, string, (name: string) => string | null][] = [
  ['before it can know of the launch', 'tank', () => null],
  ['when the volume is there', 'tank', (name) => `${pools}/tank/containers/${name}`],
  ['when the volume is filled', 'tank', (name) => `${pools}/tank/containers/${name}/rootfs`],
  ['when the volume is there', 'default', (name) => `${pools}/default/containers/${name}`],
  ['when the address is reserved', 'tank', (name) => `/var/lib/longshore/networks/lxdbr0/dnsmasq.hosts/${name}.eth0`],
  ['when the configuration is half written', 'tank', (name) => `/var/lib/longshore/containers/${name}/setup.json`],
  ['when the configuration is written', 'default', (name) => `/var/lib/longshore/containers/${name}/config`],
  ['when the container begins to start', 'tank', (name) => `/var/log/longshore/${name}/lxc.log`],
  ['when the container runs', 'tank', (name) => `/run/longshore/instances/${name}.pid`],
  ['when the container runs', 'default', (name) => `/run/longshore/instances/${name}.pid`],
];

describe('an agent that is killed while it launches', () => {
  it.each(MOMENTS)('%s (%s) ends the operation, with the instance once or not at all', async (_case, pool, file) => {
    const name = newName('crash');
    const sign = file(name);
    const pid = await victim.agentPid();
    const operation = await startLaunch(name, pool);
    if (sign !== null) {
      // Asked as often as possible: the steps are milliseconds long.
      const path = victim.path(sign);
      const deadline = Date.now() + 10_000;
      while (!existsSync(path) && Date.now() < deadline) await new Promise((resolve) => setImmediate(resolve));
    }
    process.kill(pid, 'SIGKILL');
    await replaceAgent();
    await expectWholeOrNothing(name, pool, await endOf(operation));
  });

  it('again and again still ends it, with the instance once or not at all', async () => {
    const name = newName('crash');
    const operation = await startLaunch(name, 'tank');
    for (let kill = 0; kill < 4; kill++) await replaceAgent();
    await expectWholeOrNothing(name, 'tank', await endOf(operation));
  });

  it('with six launches at work ends each of them', async () => {
    const names = newNames('crash', 6);
    const operations = await Promise.all(names.map((name) => startLaunch(name, 'tank')));
    const path = victim.path(`/run/longshore/instances/${names[2]}.pid`);
    await waitFor('one of them to run', async () => existsSync(path) || undefined);
    await replaceAgent();
    const ended = await Promise.all(operations.map(endOf));
    for (const [index, end] of ended.entries()) await expectWholeOrNothing(names[index] ?? '', 'tank', end);
  });

  it('while it deletes ends the deletion, with nothing left', async () => {
    const name = newName('crash');
    expect(await endOf(await startLaunch(name, 'tank'))).toMatchObject({ status: 'Success' });
    await api({ method: 'PUT', path: `/1.0/instances/${name}/state`, body: '{"action":"stop","force":true}' });
    await waitFor('it to stop', async () => (await statusOf(name)) === 'Stopped' || undefined);
    const { body } = await api({ method: 'DELETE', path: `/1.0/instances/${name}` });
    await replaceAgent();
    expect(await endOf(body.operation ?? '')).toMatchObject({ status: 'Success' });
    await expectWholeOrNothing(name, 'tank', { status: 'Failure', err: '' });
  });
});

describe('an agent that is stopped and started', () => {
  it('keeps instances running, and takes them over', async () => {
    const name = newName('adopted');
    created.push(name);
    expect(await lxc('launch', 'tiny', name, '--target', 'host3')).toMatchObject({ code: 0 });
    const pid = async () => ((await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number }).pid;
    const before = await pid();
    await victim.stopAgent();
    expect(await victim.exec(['test', '-d', `/proc/${before}`])).toMatchObject({ code: 0 });
    await untilMember('host3', 'Offline');
    await victim.startAgent();
    await untilMember('host3', 'Online');
    expect(await pid()).toBe(before);
    expect(await lxc('exec', name, '--', 'true')).toMatchObject({ code: 0 });
    expect(await lxc('stop', name)).toMatchObject({ code: 0 });
  });

  it('finds out what ended while it was away', async () => {
    const name = newName('ended');
    created.push(name);
    expect(await lxc('launch', 'tiny', name, '--target', 'host3')).toMatchObject({ code: 0 });
    const { pid } = (await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number };
    await victim.stopAgent();
    await victim.exec(['kill', '-9', String(pid)]);
    await victim.startAgent();
    await waitFor('it to be known as stopped', async () => (await statusOf(name)) === 'Stopped' || undefined);
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
  });

  it('takes a command that was given while it hung', async () => {
    const name = newName('waiting');
    // Its host still counts as online: nothing but its silence could tell.
    await victim.pauseAgent();
    const operation = await startLaunch(name, 'default');
    await replaceAgent();
    expect(await endOf(operation)).toMatchObject({ status: 'Success' });
    await expectWholeOrNothing(name, 'default', { status: 'Success', err: '' });
  });
});

describe('a host whose power fails', () => {
  it('comes back with its pools, its bridge and the instances that belong up', async () => {
    const [always = '', never = '', asBefore = '', stopped = ''] = newNames('power', 4);
    created.push(always, never, asBefore, stopped);
    const launch = (name: string, pool: string, ...config: string[]) =>
      lxc('launch', 'tiny', name, '--target', 'host3', '-s', pool, ...config.flatMap((pair) => ['-c', pair]));
    expect(await launch(always, 'default', 'boot.autostart=true')).toMatchObject({ code: 0 });
    expect(await launch(never, 'default', 'boot.autostart=false')).toMatchObject({ code: 0 });
    expect(await launch(asBefore, 'tank')).toMatchObject({ code: 0 });
    expect(await launch(stopped, 'tank')).toMatchObject({ code: 0 });
    expect(await lxc('stop', '-f', stopped)).toMatchObject({ code: 0 });
    const keep = 'echo kept | dd of=/root/kept conv=fsync 2>/dev/null';
    for (const name of [always, asBefore]) {
      expect(await lxc('exec', name, '--', 'sh', '-c', keep)).toMatchObject({ code: 0, stderr: '' });
    }
    const bridge = async () =>
      (await victim.exec(['ip', '-br', 'addr', 'show', 'lxdbr0'])).stdout.trim().split(/ +/).sort();
    const addresses = async () =>
      (await lxc('list', '-f', 'csv', '-c', 'n4', 'power-')).stdout.split('\n').sort().filter(Boolean);
    const [bridgeBefore, addressesBefore] = [await bridge(), await addresses()];

    await cluster.crash(3);
    await untilMember('host3', 'Offline');
    // As LXD shows instances of a member that does not answer.
    expect(await instancesOf([always, stopped])).toMatchObject([{ status: 'Error' }, { status: 'Error' }]);
    expect(await lxc('exec', always, '--', 'true')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('host3'),
    });

    await cluster.boot(3);
    await untilMember('host3', 'Online');
    for (const name of [always, asBefore]) {
      await waitFor(`${name} to run`, async () => (await statusOf(name)) === 'Running' || undefined);
    }
    expect(await instancesOf([never, stopped])).toMatchObject([{ status: 'Stopped' }, { status: 'Stopped' }]);
    expect(await lxc('start', never)).toMatchObject({ code: 0 });
    expect(await bridge()).toEqual(bridgeBefore);
    await waitFor('the addresses of before', async () =>
      (await addresses()).join() === addressesBefore.join() ? true : undefined,
    );
    for (const name of [always, asBefore]) {
      expect(await lxc('exec', name, '--', 'cat', '/root/kept')).toMatchObject({ stdout: 'kept\n', stderr: '' });
    }
    for (const pool of ['default', 'tank']) {
      const name = newName('after');
      created.push(name);
      expect(await launch(name, pool)).toMatchObject({ code: 0 });
    }
  });

  it('while it launches ends the operation, with the instance once or not at all', async () => {
    const name = newName('power');
    const operation = await startLaunch(name, 'tank');
    await cluster.crash(3);
    await cluster.boot(3);
    await expectWholeOrNothing(name, 'tank', await endOf(operation));
  });
});

describe('the log of that agent', () => {
  const lines = () => readFileSync(victim.path('/var/log/agent.log'), 'utf8').split('\n');

  it('shows that most kills met a command at work', () => {
    const resumed = lines().filter((line) => line.includes('"resumed":true'));
    expect(resumed.length).toBeGreaterThan(MOMENTS.length / 2);
  });

  it('has nothing that a person should look at', () => {
    expect(lines().filter((line) => line.includes('"level":50'))).toEqual([]);
  });
});
