/** Hosts whose control plane is out of reach, and what happens on hosts behind the agent's back. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cluster, instancesOf, lxc, lxcJson, newName, newNames, removeInstances, waitFor } from './support.ts';

const created: string[] = [];
afterAll(async () => {
  await cluster.heal(3);
  await untilOnline();
  await removeInstances(created);
});

const host = cluster.host(3);
/** The stock client on the host itself, by its local socket. */
const here = (...args: string[]) => host.exec(['lxc', ...args], { timeoutMs: 60_000 });
const launch = async (name: string, ...more: string[]) => {
  created.push(name);
  expect(await lxc('launch', 'tiny', name, '--target', 'host3', ...more)).toMatchObject({ code: 0 });
};
const statusHere = async (name: string) => (await here('list', name, '-f', 'csv', '-c', 's')).stdout.trim();
const statusOf = async (name: string) => (await instancesOf([name]))[0]?.status;
const untilOnline = () =>
  waitFor('host3 to be Online', async () => {
    const { status } = (await lxcJson('query', '/1.0/cluster/members/host3')) as { status: string };
    return status === 'Online' || undefined;
  });
const untilAlone = () =>
  waitFor('host3 to answer for itself', async () => {
    const { stdout } = await here('info');
    return stdout.includes('control plane unreachable') || undefined;
  });

describe('a host whose control plane is out of reach', () => {
  const [mine = '', stopped = '', other = ''] = newNames('alone', 3);
  const monitor = cluster.lxcStream(['monitor', '--type=lifecycle', '--format=json']);
  let cutAt = 0;
  let healedAt = 0;

  beforeAll(async () => {
    await monitor.connected;
    await launch(mine, '-c', 'user.note=kept');
    await launch(stopped);
    expect(await lxc('stop', '-f', stopped)).toMatchObject({ code: 0 });
    created.push(other);
    expect(await lxc('launch', 'tiny', other, '--target', 'host1')).toMatchObject({ code: 0 });
    await cluster.cut(3);
    cutAt = Date.now();
    await untilAlone();
  });
  afterAll(async () => {
    await monitor.stop();
    await cluster.heal(3);
    await untilOnline();
  });

  it('lists its own instances as they are, and no others', async () => {
    const { stdout, stderr, code } = await here('list', '-f', 'csv', '-c', 'nsL', 'alone-');
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(stdout.trim().split('\n').sort()).toEqual([`${mine},RUNNING,host3`, `${stopped},STOPPED,host3`].sort());
    expect((await here('list', '-f', 'csv', '-c', '4', mine)).stdout).toMatch(/^10\.\d+\.\d+\.\d+ \(eth0\)$/m);
  });

  it('shows what they are and how they do', async () => {
    const info = await here('info', mine);
    expect(info).toMatchObject({ code: 0, stdout: expect.stringMatching(/Status: RUNNING[\s\S]*PID: \d+/) });
    const config = await here('config', 'show', mine);
    expect(config.stdout).toMatch(/user\.note: kept/);
    expect(config.stdout).toMatch(/volatile\.eth0\.hwaddr: /);
    expect((await here('config', 'show', '--expanded', mine)).stdout).toMatch(/path: \//);
  });

  it('runs programs in them: streams apart, input, exit code, a terminal', async () => {
    const apart = await here('exec', mine, '--', 'sh', '-c', 'echo out; echo err >&2; exit 7');
    expect(apart).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 7 });
    const input = 'x'.repeat(8 * 1024 * 1024);
    const piped = await host.exec(['lxc', 'exec', mine, '--', 'cat'], { input });
    expect(piped.stdout === input).toBe(true);
    const terminal = await here('exec', '-t', mine, '--', 'sh', '-c', 'test -t 0 && test -t 1 && echo terminal');
    expect(terminal).toMatchObject({ code: 0, stdout: 'terminal\r\n' });
    expect(await here('exec', mine, '--', 'no-such-program')).toMatchObject({
      code: 127,
      stderr: 'Error: Command not found\n',
    });
  });

  it('stops, starts and restarts them', async () => {
    expect(await here('stop', '-f', mine)).toEqual({ stdout: '', stderr: '', code: 0 });
    expect(await statusHere(mine)).toBe('STOPPED');
    expect(await here('stop', '-f', mine)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('The instance is already stopped'),
    });
    expect(await here('start', mine, stopped)).toEqual({ stdout: '', stderr: '', code: 0 });
    expect(await here('restart', '-f', mine)).toEqual({ stdout: '', stderr: '', code: 0 });
    expect([await statusHere(mine), await statusHere(stopped)]).toEqual(['RUNNING', 'RUNNING']);
    expect(await here('exec', mine, '--', 'true')).toMatchObject({ code: 0 });
  });

  it('carries files into and out of them', async () => {
    const large = newName('large');
    await host.exec(['dd', 'if=/dev/urandom', `of=/run/${large}`, 'bs=1M', 'count=20']);
    expect(await here('file', 'push', `/run/${large}`, `${mine}/root/data`, '--mode', '0640')).toMatchObject({
      code: 0,
    });
    expect(await here('file', 'pull', `${mine}/root/data`, `/run/${large}.back`)).toMatchObject({ code: 0 });
    expect(await host.exec(['cmp', `/run/${large}`, `/run/${large}.back`])).toMatchObject({ code: 0 });
    expect((await here('exec', mine, '--', 'ls', '-ln', '/root/data')).stdout).toMatch(/^-rw-r----- +1 0 +0 /);
    expect(await here('file', 'pull', '-r', `${mine}/etc`, `/run/${large}.etc`)).toMatchObject({ code: 0 });
    expect(await here('file', 'delete', `${mine}/root/data`)).toMatchObject({ code: 0 });
    expect(await here('file', 'pull', `${mine}/root/data`, '-')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Not Found/i),
    });
    await host.exec(['rm', '-rf', `/run/${large}`, `/run/${large}.back`, `/run/${large}.etc`]);
  });

  it.each([
    ['launch tiny nowhere'],
    ['cluster list'],
    ['query -X DELETE /1.0/instances/NAME'],
    ['config set NAME user.a=b'],
    ['network list'],
  ])('says of `lxc %s` that only the control plane can', async (command) => {
    const { code, stderr } = await here(...command.replace('NAME', mine).split(' '));
    expect(code).toBe(1);
    expect(stderr).toMatch(/control plane unreachable: this host serves its own instances only|required .* extension/);
  });

  it('tells when it is back what it is like, and what happened with the times of then, each once', async () => {
    expect(await here('stop', '-f', stopped)).toMatchObject({ code: 0 });
    healedAt = Date.now();
    await cluster.heal(3);
    await untilOnline();
    await waitFor('the states', async () =>
      (await statusOf(stopped)) === 'Stopped' && (await statusOf(mine)) === 'Running' ? true : undefined,
    );
    const eventsOf = (name: string) =>
      monitor
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as { timestamp: string; metadata: { action: string; source: string } })
        .filter(({ metadata }) => metadata.source === `/1.0/instances/${name}`)
        .filter(({ timestamp }) => Date.parse(timestamp) >= cutAt)
        // The client handles each event on its own: what comes together is printed in any order.
        .sort((one, other) => Date.parse(one.timestamp) - Date.parse(other.timestamp));
    await waitFor('the events', async () => (eventsOf(stopped).length >= 2 && eventsOf(mine).length >= 3) || undefined);
    expect(eventsOf(stopped).map(({ metadata }) => metadata.action)).toEqual(['instance-started', 'instance-stopped']);
    const changes = eventsOf(mine).map(({ metadata }) => metadata.action);
    expect(changes.filter((action) => action !== 'instance-exec')).toEqual([
      'instance-stopped',
      'instance-started',
      'instance-restarted',
    ]);
    for (const { timestamp } of [...eventsOf(mine), ...eventsOf(stopped)]) {
      expect(Date.parse(timestamp)).toBeLessThan(healedAt);
    }
    expect((await here('list', '-f', 'csv', '-c', 'n', 'alone-')).stdout).toContain(other);
    expect(await here('info')).toMatchObject({ stdout: expect.not.stringContaining('control plane unreachable') });
  });
});

describe('a host that boots with no control plane in reach', () => {
  it('starts what belongs up, highest priority first, and tells of it later', async () => {
    const [first = '', second = '', asBefore = '', never = '', down = ''] = newNames('boot', 5);
    await launch(second, '-c', 'boot.autostart=true', '-c', 'boot.autostart.priority=5');
    await launch(first, '-c', 'boot.autostart=true', '-c', 'boot.autostart.priority=10');
    await launch(asBefore);
    await launch(never, '-c', 'boot.autostart=false');
    await launch(down);
    expect(await lxc('stop', '-f', down, first)).toMatchObject({ code: 0 });

    await cluster.cut(3);
    await cluster.crash(3);
    await cluster.boot(3);
    const up = [first, second, asBefore];
    const states = async () =>
      Object.fromEntries(
        (await here('list', '-f', 'csv', '-c', 'ns', 'boot-')).stdout
          .trim()
          .split('\n')
          .map((line) => line.split(',')),
      );
    await waitFor('what belongs up to run', async () => {
      const now = await states();
      return up.every((name) => now[name] === 'RUNNING') || undefined;
    });
    expect(await states()).toMatchObject({ [never]: 'STOPPED', [down]: 'STOPPED' });
    const starts = readFileSync(host.path('/var/log/agent.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes('instance.autostart.done'))
      .flatMap((line) => up.filter((name) => line.includes(`/${name}"`)));
    expect(starts).toEqual(up);
    expect(await here('exec', first, '--', 'ip', '-o', '-4', 'addr', 'show', 'eth0')).toMatchObject({
      code: 0,
    });

    await cluster.heal(3);
    await untilOnline();
    await waitFor('the cluster to know', async () => {
      const known = await instancesOf([...up, never, down]);
      const running = known.filter(({ status }) => status === 'Running').map(({ name }) => name);
      return running.sort().join() === [...up].sort().join() || undefined;
    });
    expect(await lxc('exec', asBefore, '--', 'true')).toMatchObject({ code: 0 });
  });
});

describe('behind the agent’s back', () => {
  /** The stated limit, and what the client itself takes on a busy machine. */
  const SEEN_WITHIN_MS = 2_000 + 1_000;
  const containers = '/var/lib/longshore/containers';
  const isSeen = async (name: string, status: string) => {
    const start = Date.now();
    await waitFor(`${name} to be ${status}`, async () => (await statusOf(name)) === status || undefined, 20_000);
    expect(Date.now() - start).toBeLessThan(SEEN_WITHIN_MS);
  };
  const warningsOf = async (name: string) =>
    (
      (await lxcJson('query', '/1.0/warnings?recursion=1')) as {
        entity_url: string;
        status: string;
        last_message: string;
      }[]
    ).filter(({ entity_url }) => entity_url === `/1.0/instances/${name}`);

  it('a container whose init was killed, stopped or frozen by liblxc’s tools shows it within two seconds', async () => {
    const name = newName('killed');
    await launch(name);
    const { pid } = (await lxcJson('query', `/1.0/instances/${name}/state`)) as { pid: number };
    await host.exec(['kill', '-9', String(pid)]);
    await isSeen(name, 'Stopped');
    expect(await lxc('start', name)).toMatchObject({ code: 0 });
    await host.exec(['lxc-freeze', '-P', containers, '-n', name]);
    await isSeen(name, 'Frozen');
    await host.exec(['lxc-unfreeze', '-P', containers, '-n', name]);
    await isSeen(name, 'Running');
    await host.exec(['lxc-stop', '-k', '-P', containers, '-n', name]);
    await isSeen(name, 'Stopped');
  });

  it('a volume that was destroyed makes its instance an Error with a warning, and it can be deleted', async () => {
    const name = newName('lost');
    await launch(name, '-s', 'tank');
    expect(await lxc('stop', '-f', name)).toMatchObject({ code: 0 });
    const { stdout } = await host.exec(['sh', '-c', `zfs list -H -o name | grep "/containers/${name}$"`]);
    expect(await host.exec(['zfs', 'destroy', '-r', stdout.trim()])).toMatchObject({ code: 0 });
    await isSeen(name, 'Error');
    expect(await warningsOf(name)).toMatchObject([
      { status: 'new', last_message: expect.stringContaining('is missing in storage pool "tank"') },
    ]);
    expect((await lxc('start', name)).stderr).toContain('Storage volume not found');
    expect(await lxc('delete', '-f', name)).toMatchObject({ code: 0 });
  });

  it('an instance that nobody recorded is a warning, and is left alone', async () => {
    const [name = '', ghost = ''] = newNames('ghost', 2);
    await launch(name);
    const copy = `cp -a ${containers}/${name} ${containers}/${ghost} && sed -i 's/"name":"${name}"/"name":"${ghost}"/' ${containers}/${ghost}/setup.json`;
    expect(await host.exec(['sh', '-c', copy])).toMatchObject({ code: 0 });
    await host.stopAgent();
    await host.startAgent();
    await untilOnline();
    await waitFor('the warning', async () => ((await warningsOf(ghost)).length > 0 ? true : undefined));
    expect(await host.exec(['test', '-e', `${containers}/${ghost}/setup.json`])).toMatchObject({ code: 0 });
    await host.exec(['rm', '-r', `${containers}/${ghost}`]);
  });
});
