/** Names and removals between the real control plane and a real agent process; no instances, so nothing of LXC is needed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT_LEFT, EXIT_REMOVED } from '#agent/leave/membership.ts';
import { ensureClientCertificate } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { inRepository } from '#selfhost/paths.ts';
import { findFreePort } from '#selfhost/port.ts';
import { waitFor } from '#selfhost/wait.ts';

let dir: string;
let plane: ControlPlane;
let conf: string;

interface Ran {
  stdout: string;
  stderr: string;
  code: number;
}

async function run(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ran> {
  const { stdout, stderr, exitCode } = await execa(file, args, { reject: false, env: { LXD_CONF: conf, ...env } });
  return { stdout, stderr, code: exitCode ?? -1 };
}
const lxc = (...args: string[]) => run('lxc', args);

async function ok(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await lxc(...args);
  expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
  return stdout;
}

const statusOf = async (name: string) => {
  const { stdout, code } = await lxc('query', `/1.0/cluster/members/${name}`);
  return code === 0 ? (JSON.parse(stdout) as { status: string }).status : null;
};
const isOnline = (name: string) =>
  waitFor(`${name} to be online`, async () => (await statusOf(name)) === 'Online', { timeoutMs: 20_000 });

const program = inRepository('bin/longshore');
const at = (file: string) => path.join(dir, 'host', file);
const socket = () => at('run/unix.socket');
/** `lxc` as a user of the host types it. */
const local = (...args: string[]) => run('lxc', args, { LXD_SOCKET: socket(), LXD_CONF: at('conf') });

async function join(name: string): Promise<void> {
  const token = (await ok('cluster', 'add', name)).trim().split('\n').at(-1) ?? '';
  const places = ['--config-dir', at('etc'), '--data-dir', at('data'), '--run-dir', at('run'), '--log-dir', at('log')];
  const joined = await run(program, ['join', token, ...places, '--socket', socket(), '--no-service', '--yes']);
  expect(joined).toMatchObject({ code: 0 });
}

let agent: { process: ChildProcess; ended: Promise<number | null>; errors: () => string } | undefined;

function startAgent(): NonNullable<typeof agent> {
  const process = spawn(program, ['agent', '--config', at('etc/agent.yaml')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  process.stderr?.on('data', (chunk) => {
    errors += String(chunk);
  });
  const ended = new Promise<number | null>((resolve) => {
    process.once('exit', resolve);
  });
  agent = { process, ended, errors: () => errors };
  return agent;
}

async function stopAgent(): Promise<void> {
  agent?.process.kill('SIGTERM');
  await agent?.ended;
}

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-membership-'));
  conf = path.join(dir, 'conf');
  await mkdir(conf);
  const files = { certificate: path.join(conf, 'client.crt'), key: path.join(conf, 'client.key') };
  const { certificate } = await ensureClientCertificate(files, 'me@here');
  const port = await findFreePort();
  plane = await startControlPlane({
    dataDir: path.join(dir, 'control'),
    listen: [{ host: '127.0.0.1', port }],
    addresses: [`127.0.0.1:${port}`],
    trust: [{ name: 'me', certificate }],
    logLevel: 'error',
    log: () => {},
  });
  await lxc('remote', 'add', 'cluster', `https://127.0.0.1:${port}`, '--accept-certificate');
  await ok('remote', 'switch', 'cluster');
});
afterAll(async () => {
  await stopAgent();
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe('a member', () => {
  it('learns its new name over the link, and its host’s users go on', async () => {
    await join('first');
    startAgent();
    await isOnline('first');
    expect(await ok('cluster', 'rename', 'first', 'second')).toBe('Member first renamed to second');
    await isOnline('second');
    expect(readFileSync(at('etc/agent.yaml'), 'utf8')).toMatch(/^member: second$/m);
    await waitFor('the local socket', async () => (await local('cluster', 'list')).code === 0);
    expect((await local('cluster', 'rename', 'second', 'third')).stdout).toBe('Member second renamed to third');
    await isOnline('third');
  });

  it('learns at its next start what it is called by then, over two names', async () => {
    await stopAgent();
    await ok('cluster', 'rename', 'third', 'fourth');
    await ok('cluster', 'rename', 'fourth', 'fifth');
    startAgent();
    await waitFor('the new name', async () => /^member: fifth$/m.test(readFileSync(at('etc/agent.yaml'), 'utf8')));
    await isOnline('fifth');
    expect(JSON.parse(await ok('query', '/1.0/cluster/members'))).toEqual(['/1.0/cluster/members/fifth']);
  });

  it('tells its figures, also after it has gone', async () => {
    const figures = async () =>
      JSON.parse(await ok('query', '/1.0/cluster/members/fifth/state')) as { sysinfo: { uptime: number } };
    await waitFor('the figures', async () => (await figures()).sysinfo.uptime > 0);
    await stopAgent();
    await waitFor('the member to be away', async () => (await statusOf('fifth')) === 'Offline', { timeoutMs: 20_000 });
    expect((await figures()).sysinfo.uptime).toBeGreaterThan(0);
    expect(await ok('cluster', 'list', '--format', 'csv')).toMatch(
      /,OFFLINE,"?No heartbeat for .*: The link is closed/,
    );
    startAgent();
    await isOnline('fifth');
  });

  it('that was removed by force is told, ends, and tells its host’s users', async () => {
    const running = agent;
    expect(await ok('cluster', 'remove', '--force', '--yes', 'fifth')).toBe('Member fifth removed');
    expect(await running?.ended).toBe(EXIT_REMOVED);
    expect(running?.errors()).toMatch(
      /^"fifth" was removed from this cluster .+ join it again with a new token\. The inst/m,
    );
    startAgent();
    await waitFor('the local socket to tell', async () => (await local('list')).stderr.includes('was removed'));
    expect((await local('list')).stderr).toMatch(/^Error: "fifth" was removed from this cluster \(.+\): join it again/);
  });

  it('joins again while its agent runs, under another name, with another key', async () => {
    expect(existsSync(at('etc/agent.key'))).toBe(false);
    await join('sixth');
    await isOnline('sixth');
    expect((await local('cluster', 'list')).code).toBe(0);
    expect(existsSync(at('etc/removed.json'))).toBe(false);
  });

  it('that was removed empty leaves nothing, even by its own socket', async () => {
    const running = agent;
    expect((await local('cluster', 'remove', 'sixth')).stdout).toBe('Member sixth removed');
    expect(await running?.ended).toBe(EXIT_LEFT);
    const left = await run('find', [at('etc'), at('data'), '-type', 'f']);
    expect(left.stdout).toBe('');
    expect(JSON.parse(await ok('query', '/1.0/cluster/members'))).toEqual([]);
  });

  it('that was removed while it was off leaves at its return, and a warning tells', async () => {
    await join('first');
    startAgent();
    await isOnline('first');
    await stopAgent();
    await ok('cluster', 'remove', 'first');
    const { ended, errors } = startAgent();
    expect(await ended).toBe(EXIT_LEFT);
    expect(errors()).toContain('What was made here for the cluster is gone');
    expect(JSON.parse(await ok('query', '/1.0/warnings?recursion=1'))).toContainEqual(
      expect.objectContaining({ type: 'Removed cluster member returned', location: 'first', status: 'new' }),
    );
  });

  it('that was removed while it was off joins again without ever being told', async () => {
    await join('first');
    startAgent();
    await isOnline('first');
    await stopAgent();
    await ok('cluster', 'remove', '--force', '--yes', 'first');
    await join('first');
    startAgent();
    await isOnline('first');
    expect((await local('cluster', 'list')).code).toBe(0);
  });
});
