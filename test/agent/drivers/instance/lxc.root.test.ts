import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExecRequest, InstanceTransition } from '#agent/drivers/instance/driver.ts';
import { createFileInRoot, openFileInRoot, statInRoot } from '#agent/drivers/instance/files.ts';
import { createLxcDriver } from '#agent/drivers/instance/lxc.ts';
import { readCgroupMounts } from '#agent/system/cgroup.ts';
import { eventually } from '#test/eventually.ts';
import { collect, type Fixture, makeFixture, makeSetup } from './support.ts';

const ref = { project: 'default', name: 'lsrt-a' };
const plain: Omit<ExecRequest, 'command'> = {
  environment: {},
  user: 0,
  group: 0,
  cwd: '',
  terminal: null,
};
let fixture: Fixture;

beforeAll(async () => {
  fixture = makeFixture();
  await fixture.add(makeSetup(fixture.volume, ref.name, { config: { 'environment.GREETING': ' hello "you" ' } }));
});
afterAll(() => fixture.cleanUp());

const run = async (command: string[], options: Partial<ExecRequest> = {}) =>
  collect(await fixture.driver.exec(ref, { ...plain, ...options, command }));

const payloadGroups = (name: string) => {
  const mounts = readCgroupMounts();
  return [...mounts.v1.values(), mounts.v2 ?? '']
    .flatMap((mount) => [join(mount, `lxc.payload.${name}`), join(mount, `lxc.monitor.${name}`)])
    .filter((path) => existsSync(path));
};

describe('a stopped instance', () => {
  it('says so, and refuses programs in LXD words', async () => {
    expect(await fixture.driver.report(ref)).toEqual({ ...ref, status: 'Stopped', state: null });
    await expect(run(['true'])).rejects.toMatchObject({ code: 'bad_request', message: 'Instance is not running' });
    await fixture.driver.stop(ref, { force: false, timeoutMs: 1000 });
  });

  it('starts, and starting again changes nothing', async () => {
    await fixture.driver.start(ref);
    const before = await fixture.driver.state(ref);
    await fixture.driver.start(ref);
    expect((await fixture.driver.state(ref))?.pid).toBe(before?.pid);
    expect(await fixture.driver.status(ref)).toBe('Running');
  });
});

describe('a program in a running instance', () => {
  it('has separate outputs and an exact exit code', async () => {
    expect(await run(['sh', '-c', 'echo out; echo err >&2; exit 42'])).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      code: 42,
    });
  });

  it.each([
    ['is not there', ['nope'], 127],
    ['is not executable', ['/etc/passwd'], 126],
    ['dies of a signal', ['sh', '-c', 'kill -9 $$'], 137],
  ])('that %s ends as a shell would say', async (_, command, code) => {
    expect(await run(command)).toEqual({ stdout: '', stderr: '', code });
  });

  it('gets the environment of the instance and of the request, and nothing of the agent', async () => {
    const { stdout } = await run(['env'], { environment: { X: 'a\nb' } });
    expect(stdout).toContain('GREETING= hello "you" \n');
    expect(stdout).toContain('X=a\nb\n');
    expect(stdout).toContain('HOME=/root\n');
    expect(stdout).not.toContain('VITEST');
  });

  it.each([
    ['', '/root'],
    ['/', '/'],
    ['/usr/bin', '/usr/bin'],
    ['/missing', '/'],
  ])('with cwd "%s" runs in %s', async (cwd, expected) => {
    expect((await run(['pwd'], { cwd })).stdout).toBe(`${expected}\n`);
  });

  it('with a cwd that only the instance has runs there, its arguments untouched', async () => {
    await run(['mkdir', '-p', '/tmp/only here']);
    const { stdout } = await run(['sh', '-c', 'pwd; echo "$1"', 'sh', '$(id) "x"'], { cwd: '/tmp/only here' });
    expect(stdout).toBe('/tmp/only here\n$(id) "x"\n');
  });

  it('runs as the user asked for and may open its own standard output again', async () => {
    const { stdout } = await run(['sh', '-c', 'id -u; id -g; echo again > /dev/stdout'], { user: 1000, group: 1000 });
    expect(stdout).toBe('1000\n1000\nagain\n');
  });

  it('sees the end of its input', async () => {
    const program = await fixture.driver.exec(ref, { ...plain, command: ['wc', '-c'] });
    program.write(Buffer.alloc(100_000));
    program.endInput();
    expect((await collect(program)).stdout.trim()).toBe('100000');
  });

  it('takes signals itself', async () => {
    const program = await fixture.driver.exec(ref, {
      ...plain,
      command: ['sh', '-c', 'trap "exit 5" USR1; echo ready; while :; do sleep 0.02; done'],
    });
    program.onOutput((_, bytes) => {
      if (Buffer.from(bytes).toString().includes('ready')) program.signal(10);
    });
    expect(await program.exited).toBe(5);
  });

  it('is killed itself, even before it has begun', async () => {
    const program = await fixture.driver.exec(ref, { ...plain, command: ['sleep', '4711'] });
    program.onOutput(() => {});
    program.signal(9);
    expect(await program.exited).toBe(137);
    expect((await run(['ps'])).stdout).not.toContain('sleep 4711');
  });

  it('carries 200 MB through pipes in bounded memory, however slow the reader', async () => {
    const program = await fixture.driver.exec(ref, {
      ...plain,
      command: ['dd', 'if=/dev/zero', 'bs=1M', 'count=200'],
    });
    const rssBefore = process.memoryUsage().rss;
    let bytesSeen = 0;
    let peak = 0;
    program.onOutput((channel, bytes) => {
      if (channel === 'stderr') return;
      bytesSeen += bytes.length;
      peak = Math.max(peak, process.memoryUsage.rss());
      if (bytesSeen % 16 !== 0) return;
      program.pauseOutput();
      setImmediate(() => program.resumeOutput());
    });
    expect(await program.exited).toBe(0);
    expect(bytesSeen).toBe(200 * 1024 * 1024);
    expect(peak - rssBefore).toBeLessThan(64 * 1024 * 1024);
  });

  it('does not hang on a background process that keeps the output open', async () => {
    expect(await run(['sh', '-c', 'sleep 60 & echo done'])).toMatchObject({ stdout: 'done\n', code: 0 });
    await run(['killall', 'sleep']);
  });
});

describe('a terminal', () => {
  const terminal = { width: 100, height: 30 };

  it('has the size asked for, plain line ends and the exit code', async () => {
    const { stdout, code } = await run(['sh', '-c', 'stty size; echo two; exit 42'], { terminal });
    expect(stdout).toBe('30 100\r\ntwo\r\n');
    expect(code).toBe(42);
  });

  it('tells the program of a new size', async () => {
    const program = await fixture.driver.exec(ref, {
      ...plain,
      terminal,
      command: ['sh', '-c', 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.02; done'],
    });
    let output = '';
    program.onOutput((_, bytes) => {
      output += Buffer.from(bytes).toString();
      if (output === 'ready\r\n') program.resize(132, 50);
    });
    await program.exited;
    expect(output).toBe('ready\r\n50 132\r\n');
  });

  it('passes Ctrl-C on', async () => {
    const program = await fixture.driver.exec(ref, {
      ...plain,
      terminal,
      command: ['sh', '-c', 'trap "exit 7" INT; echo ready; while :; do sleep 0.02; done'],
    });
    program.onOutput((_, bytes) => {
      if (Buffer.from(bytes).toString().includes('ready')) program.write(Buffer.from('\x03'));
    });
    expect(await program.exited).toBe(7);
  });

  it('loses nothing when the reader pauses beyond the program’s end', async () => {
    const program = await fixture.driver.exec(ref, {
      ...plain,
      terminal,
      command: ['sh', '-c', 'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done'],
    });
    let output = '';
    program.onOutput((_, bytes) => {
      output += Buffer.from(bytes).toString();
      program.pauseOutput();
      setTimeout(() => program.resumeOutput(), output.length < 10_000 ? 300 : 0);
    });
    expect(await program.exited).toBe(0);
    expect(output.endsWith('line 19999\r\n')).toBe(true);
  });

  it('never blocks the agent when the program does not read', async () => {
    const program = await fixture.driver.exec(ref, { ...plain, terminal, command: ['sh', '-c', 'stty raw; sleep 60'] });
    program.onOutput(() => {});
    expect(program.write(Buffer.alloc(1024 * 1024, 'x'))).toBe(false);
    program.signal(9);
    expect(await program.exited).toBe(137);
    await program.drained();
  });
});

describe('a running instance', () => {
  it('reports its figures without a program being started', async () => {
    const state = await fixture.driver.state(ref);
    expect(state?.processes).toBeGreaterThanOrEqual(1);
    expect(state?.cpuUsageNs).toBeGreaterThan(0);
    expect(state?.memory.usage).toBeGreaterThan(0);
    expect(state?.network?.lo).toMatchObject({ type: 'loopback', mtu: 65536 });
  });

  it('has its files written with the container’s owners, also where an id map is in between', async () => {
    const root = await fixture.driver.openRoot(ref, fixture.volume);
    try {
      for (const path of ['/root/new', '/tmp/new', '/dev/shm-new']) {
        const { fd, existed } = createFileInRoot(root, path, { uid: 1000, gid: 1001, mode: 0o640 });
        writeFileSync(fd, 'content');
        expect(existed).toBe(false);
        expect(statInRoot(root, path)).toMatchObject({ uid: 1000, gid: 1001, mode: 0o640, size: 7, type: 'file' });
      }
      expect((await run(['stat', '-c', '%u:%g %a', '/root/new', '/dev/shm-new'])).stdout).toBe(
        '1000:1001 640\n1000:1001 640\n',
      );
      expect(readFileSync(openFileInRoot(root, '/root/new'), 'utf8')).toBe('content');
    } finally {
      root.close();
    }
  });

  it('freezes, refuses programs meanwhile, and goes on', async () => {
    await fixture.driver.freeze(ref);
    await fixture.driver.freeze(ref);
    expect(await fixture.driver.status(ref)).toBe('Frozen');
    await expect(run(['true'])).rejects.toThrow('Instance is frozen');
    await fixture.driver.unfreeze(ref);
    expect((await run(['true'])).code).toBe(0);
  });

  it('takes limits live in both directions and keeps the old one when the kernel refuses', async () => {
    const mounts = readCgroupMounts();
    const memory = join(mounts.v1.get('memory') ?? '', `lxc.payload.${ref.name}`);
    const read = () => Number(readFileSync(join(memory, 'memory.limit_in_bytes'), 'utf8'));
    for (const size of ['64MiB', '128MiB', '32MiB']) {
      await fixture.driver.applyLimits(ref, { 'limits.memory': size, 'limits.processes': '50' });
      expect(read()).toBe(Number.parseInt(size, 10) * 2 ** 20);
    }
    await expect(fixture.driver.applyLimits(ref, { 'limits.memory': '4096' })).rejects.toThrow(
      /^Failed setting limits.memory: /,
    );
    expect(read()).toBe(32 * 2 ** 20);
    await fixture.driver.applyLimits(ref, {});
    expect(read()).toBeGreaterThan(2 ** 50);
  });

  it('is found again by a new agent, even with its pid file lost', async () => {
    const pidFile = join(fixture.deps.runDir, 'instances', `${ref.name}.pid`);
    writeFileSync(pidFile, '1');
    expect(await fixture.driver.status(ref)).toBe('Stopped');
    const next = createLxcDriver(fixture.deps);
    expect(await next.status(ref)).toBe('Running');
  });

  it('cannot be removed or renamed', async () => {
    await expect(fixture.driver.remove(ref)).rejects.toThrow('Instance is running');
    await expect(fixture.driver.rename(ref, 'lsrt-b')).rejects.toThrow('Renaming of running container not allowed');
  });
});

describe('transitions', () => {
  const seen: InstanceTransition[] = [];
  const kinds = () => seen.map(({ kind }) => kind);

  it('are told once, also those from before the watch; a reboot is not a stop', async () => {
    const end = fixture.driver.watch((transition) => seen.push(transition));
    await eventually(() => expect(kinds()).toEqual(['started']));
    await run(['kill', '-USR1', '1']);
    await eventually(() => expect(kinds()).toEqual(['started', 'rebooted']));
    expect(await fixture.driver.status(ref)).toBe('Running');
    await run(['kill', '-PWR', '1']);
    await eventually(() => expect(kinds()).toEqual(['started', 'rebooted', 'stopped']));
    expect(await fixture.driver.status(ref)).toBe('Stopped');
    end();
  });

  it('tell of a monitor that was killed within two seconds', async () => {
    seen.length = 0;
    const end = fixture.driver.watch((transition) => seen.push(transition));
    await fixture.driver.start(ref);
    await eventually(() => expect(kinds()).toEqual(['started']));
    process.kill(Number(readFileSync(join(fixture.deps.runDir, 'instances', `${ref.name}.pid`), 'utf8')), 'SIGKILL');
    await eventually(() => expect(kinds()).toEqual(['started', 'stopped']));
    end();
    await fixture.driver.start(ref);
  });
});

describe('stopping', () => {
  it('asks the init and leaves no control group behind', async () => {
    await fixture.driver.stop(ref, { force: false, timeoutMs: 5000 });
    expect(await fixture.driver.status(ref)).toBe('Stopped');
    await eventually(() => expect(payloadGroups(ref.name)).toEqual([]));
  });

  it('by force is over in a moment, frozen or not', async () => {
    await fixture.driver.start(ref);
    await fixture.driver.freeze(ref);
    const startedAt = performance.now();
    await fixture.driver.stop(ref, { force: true, timeoutMs: null });
    expect(performance.now() - startedAt).toBeLessThan(1000);
    expect(payloadGroups(ref.name)).toEqual([]);
  });

  it('of an init that does not listen fails in time, is cancelled at once, and kills with force', async () => {
    const deaf = { project: 'default', name: 'lsrt-deaf' };
    const init = join(fixture.volume, 'rootfs/sbin/init');
    const before = readFileSync(init);
    writeFileSync(init, '#!/bin/sh\ntrap "" PWR\nwhile :; do sleep 1; done\n');
    await fixture.add(makeSetup(fixture.volume, deaf.name));
    await fixture.driver.start(deaf);
    await expect(fixture.driver.stop(deaf, { force: false, timeoutMs: 50 })).rejects.toThrow(/deadline exceeded/);
    const signal = AbortSignal.timeout(20);
    await expect(fixture.driver.stop(deaf, { force: false, timeoutMs: null, signal })).rejects.toMatchObject({
      code: 'cancelled',
    });
    await fixture.driver.stop(deaf, { force: true, timeoutMs: 50 });
    writeFileSync(init, before);
    await fixture.driver.remove(deaf);
    await fixture.driver.remove(deaf);
  });
});

describe('starting', () => {
  it('says why it failed, in the words of liblxc', async () => {
    const broken = { project: 'default', name: 'lsrt-broken' };
    await fixture.add(makeSetup(join(fixture.base, 'nowhere'), broken.name));
    await expect(fixture.driver.start(broken)).rejects.toThrow(
      /^Failed starting instance "lsrt-broken": .*No such file/,
    );
    expect(await fixture.driver.status(broken)).toBe('Stopped');
    expect(await fixture.driver.readLog(broken, 'lxc.log')).toContain('ERROR');
    await fixture.driver.remove(broken);
  });

  it('works with every limit set, nesting and privilege', async () => {
    await fixture.add(
      makeSetup(fixture.volume, 'lsrt-all', {
        config: {
          'limits.memory': '64MiB',
          'limits.cpu': '1',
          'limits.cpu.allowance': '25ms/100ms',
          'limits.processes': '100',
          'limits.kernel.nofile': '500:600',
          'security.nesting': 'true',
          'security.privileged': 'true',
          'linux.sysctl.net.ipv4.ip_forward': '1',
        },
        devices: { etc: { type: 'disk', source: '/etc', path: '/mnt/host etc', readonly: 'true' } },
      }),
    );
    const all = { project: 'default', name: 'lsrt-all' };
    await fixture.driver.start(all);
    const program = await fixture.driver.exec(all, {
      ...plain,
      command: [
        'sh',
        '-c',
        'nproc; ls "/mnt/host etc/debian_version"; touch "/mnt/host etc/x" || cat /proc/sys/net/ipv4/ip_forward',
      ],
    });
    expect((await collect(program)).stdout).toBe('1\n/mnt/host etc/debian_version\n1\n');
    await fixture.driver.stop(all, { force: true, timeoutMs: null });
  });
});

describe('renaming', () => {
  it('moves config and logs of a stopped instance, and can be repeated', async () => {
    await fixture.driver.rename(ref, 'lsrt-b');
    await fixture.driver.rename(ref, 'lsrt-b');
    const renamed = { project: 'default', name: 'lsrt-b' };
    expect(await fixture.driver.list()).toContainEqual(renamed);
    await fixture.driver.start(renamed);
    expect(await fixture.driver.status(renamed)).toBe('Running');
    await fixture.driver.stop(renamed, { force: true, timeoutMs: null });
  });
});
