/** Database and keys are lost together: hosts are told their new control plane, and are taken in by it. No instances here. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { inRepository } from '#selfhost/paths.ts';
import { findFreePort } from '#selfhost/port.ts';
import { waitFor } from '#selfhost/wait.ts';

const LIMIT = { timeoutMs: 60_000, everyMs: 100 };
const program = inRepository('bin/longshore');

let dir: string;
let port: number;
let plane: ControlPlane;
let agent: ChildProcess | undefined;

const at = (file: string) => path.join(dir, file);

async function run(file: string, args: readonly string[], env: Record<string, string> = {}, input = '') {
  const { stdout, stderr, exitCode } = await execa(file, args, { reject: false, env, input });
  return { stdout, stderr, code: exitCode ?? -1 };
}
/** As a user of the host types it: no certificate to know or to be known by. */
const local = (...args: string[]) =>
  run('lxc', args, { LXD_SOCKET: at('host/run/unix.socket'), LXD_CONF: at('host/conf') });
const start = () =>
  startControlPlane({
    dataDir: at('control'),
    listen: [{ host: '127.0.0.1', port }],
    addresses: [`127.0.0.1:${port}`],
    logLevel: 'error',
    log: () => {},
  });

function startAgent(): void {
  agent = spawn(program, ['agent', '--config', at('host/etc/agent.yaml')], { stdio: 'ignore' });
}
async function stopAgent(): Promise<void> {
  if (agent === undefined || agent.exitCode !== null) return;
  const gone = new Promise((resolve) => agent?.once('exit', resolve));
  agent.kill('SIGTERM');
  await gone;
}
const untilServed = () =>
  waitFor('the host’s users to be served', async () => (await local('cluster', 'list')).code === 0, LIMIT);

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-rec-'));
  await mkdir(at('host/conf'), { recursive: true });
  port = await findFreePort();
  plane = await start();
});
afterAll(async () => {
  await stopAgent();
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe('a control plane without its database and keys', () => {
  it('gets its members back by longshore recover and longshore rejoin', { timeout: 180_000 }, async () => {
    const places = ['etc', 'data', 'run', 'log'].map((name) => at(`host/${name}`));
    const [etc = '', data = '', runDir = '', log = ''] = places;
    const args = [
      ...['init', '--preseed', '--token', readFileSync(at('control/bootstrap.token'), 'utf8').trim()],
      ...['--config-dir', etc, '--data-dir', data, '--run-dir', runDir, '--log-dir', log],
      ...['--socket', at('host/run/unix.socket'), '--no-service'],
    ];
    const joined = await run(program, args, {}, 'cluster:\n  enabled: true\n  server_name: first\n');
    expect(joined).toMatchObject({ code: 0 });
    startAgent();
    await untilServed();
    expect(await local('profile', 'create', 'kept')).toMatchObject({ code: 0 });
    expect(await local('config', 'set', 'user.motto', 'kept')).toMatchObject({ code: 0 });
    const copy = path.join(data, 'cluster.yaml');
    await waitFor('the host’s copy', () => existsSync(copy) && readFileSync(copy, 'utf8').includes('motto'), LIMIT);

    const before = plane.fingerprint;
    await plane.stop();
    await rm(at('control'), { recursive: true });
    plane = await start();
    expect(plane.fingerprint).not.toBe(before);

    const recovering = execa(program, ['recover', '--data', at('control'), '--hosts', 'first', '--yes'], {
      reject: false,
    });
    let said = '';
    recovering.stdout.on('data', (chunk) => {
      said += String(chunk);
    });
    const token = await waitFor('the token', () => /longshore rejoin (\S+)\n/.exec(said)?.[1], LIMIT);
    const elsewhere = Buffer.from(
      JSON.stringify({ ...JSON.parse(Buffer.from(token, 'base64').toString()), fingerprint: before }),
    ).toString('base64');
    const wrong = await run(program, ['rejoin', elsewhere, '--config-dir', etc, '--no-service']);
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('shows the certificate') });
    const told = await run(program, ['rejoin', token, '--config-dir', etc, '--no-service']);
    expect(told).toMatchObject({ code: 0, stdout: expect.stringContaining('Member "first" belongs') });
    await stopAgent();
    startAgent();

    expect(await recovering).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/Taken in: .*1 config/) });
    await untilServed();
    expect(await local('profile', 'show', 'kept')).toMatchObject({ code: 0 });
    expect((await local('config', 'get', 'user.motto')).stdout.trim()).toBe('kept');
    expect((await local('cluster', 'list', '-f', 'csv')).stdout).toMatch(/^first,.*ONLINE/m);
  });

  it('takes in nobody for who does not have its signing secret', async () => {
    const status = await new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/agent/recovery', rejectUnauthorized: false, agent: false };
      https.get(options, (response) => resolve(response.resume().statusCode)).once('error', reject);
    });
    expect(status).toBe(401);
  });
});
