/**
 * Logging in with a browser: the stock `incus` prints an address, a person opens it in Chromium, and the client goes on. The
 * issuer is the control plane itself, whose certificate nobody has signed: the client is told to trust it, as a client of a
 * public one need not be.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunResult, run } from '#selfhost/run.ts';
import { api } from './api.ts';
import { cluster, lxcJson, newName, waitFor } from './support.ts';

const PROGRAM = resolve('bin/incus');
const REMOTE = 'web';
const [user, other] = [newName('ada'), newName('bob')];
const users: string[] = [];
let browser: Browser;
let folder = '';
let address = '';
let password = '';

/** Everything the client keeps is in a folder of its own. */
const environment = () => ({
  INCUS_CONF: join(folder, 'incus'),
  SSL_CERT_FILE: join(cluster.lxdConf, 'servercerts', 'longshore.crt'),
  BROWSER: 'none',
});
const incus = (...args: string[]): Promise<RunResult> =>
  run(PROGRAM, args, { allowFailure: true, timeoutMs: 60_000, env: environment() });

/** By the product's own command, on a host. */
async function longshore(...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await cluster.host(1).exec([process.execPath, cluster.program, ...args]);
  if (code !== 0) throw new Error(`longshore ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function addUser(name: string, ...flags: string[]): Promise<string> {
  const made = (await longshore('user', 'add', name, ...flags)).trim().split('\n').at(-1) ?? '';
  users.push(name);
  return made;
}

/** The client while it waits for a person. */
interface Waiting {
  url: string;
  code: string;
  output(): string;
  ended: Promise<{ code: number | null; output: string }>;
  stop(): Promise<void>;
}

async function startLogin(remote: string): Promise<Waiting> {
  const args = ['remote', 'add', remote, `https://${address}`, '--auth-type=oidc', '--accept-certificate'];
  const child: ChildProcessWithoutNullStreams = spawn(PROGRAM, args, { env: { ...process.env, ...environment() } });
  child.stdin.end();
  let output = '';
  const keep = (chunk: Buffer) => {
    output += String(chunk);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  let isOver = false;
  const ended = new Promise<{ code: number | null; output: string }>((done) => {
    child.once('close', (code) => {
      isOver = true;
      done({ code, output });
    });
  });
  const shown = await waitFor('incus to print where to log in', async () => {
    if (isOver) throw new Error(`incus ended: ${output}`);
    return /URL: (\S+)\s+Code: (\S+)/.exec(output) ?? undefined;
  });
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return { url: shown[1] ?? '', code: shown[2] ?? '', output: () => output, ended, stop };
}

/** Fills the form; resolves when the answer is there. */
async function logIn(page: Page, name: string, secret: string): Promise<void> {
  await page.getByLabel('User name').fill(name);
  await page.getByLabel('Password').fill(secret);
  await page.getByRole('button', { name: 'Log in' }).click();
}

async function openPage(url: string): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

interface Stored {
  Token?: { access_token: string };
  access_token?: string;
}
const tokenFile = (remote: string) => join(folder, 'incus', 'oidctokens', `${remote}.json`);
const storedToken = async (remote: string): Promise<string> => {
  const stored = JSON.parse(await readFile(tokenFile(remote), 'utf8')) as Stored;
  return stored.access_token ?? stored.Token?.access_token ?? '';
};
const bear = async (token: string) =>
  (await api({ method: 'GET', path: '/1.0/instances', anonymous: true, headers: { authorization: `Bearer ${token}` } }))
    .status;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'longshore-oidc-'));
  const server = (await lxcJson('query', '/1.0')) as { environment: { addresses: string[] } };
  address = server.environment.addresses[0] ?? '';
  password = await addUser(user);
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-proxy-server',
    ],
  });
});
afterAll(async () => {
  await browser?.close();
  for (const name of users) await longshore('user', 'remove', name).catch(() => {});
  await rm(folder, { recursive: true });
});

describe('incus with a browser', () => {
  it('is logged in once a person has allowed it, and never by a wrong password', async () => {
    const waiting = await startLogin(REMOTE);
    expect(new URL(waiting.url).host).toBe(address);
    const page = await openPage(waiting.url);
    expect(await page.getByLabel('Code shown by the program').inputValue()).toBe(waiting.code);
    await logIn(page, user, 'a wrong password');
    expect(await page.getByRole('alert').textContent()).toBe('Wrong name or password');
    await logIn(page, user, password);
    expect(await page.getByRole('main').textContent()).toContain(waiting.code);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Logged in' }).waitFor();
    expect(await waiting.ended).toMatchObject({ code: 0 });
    await page.context().close();
    const listed = await incus('list', `${REMOTE}:`, '--format', 'csv');
    expect(listed).toMatchObject({ code: 0, stderr: '' });
    expect((await incus('info', `${REMOTE}:`)).stdout).toContain(`auth_user_name: ${user}`);
  });

  it('launches, runs programs and hears events, as with a certificate', async () => {
    const name = newName('web');
    expect(await incus('launch', `${REMOTE}:tiny`, `${REMOTE}:${name}`)).toMatchObject({ code: 0 });
    expect(await incus('exec', `${REMOTE}:${name}`, '--', 'echo', 'hello')).toMatchObject({
      stdout: 'hello\n',
      code: 0,
    });
    expect(await incus('delete', '--force', `${REMOTE}:${name}`)).toMatchObject({ code: 0 });
  });

  it('refreshes by itself when its access token is no good any more', async () => {
    const token = await storedToken(REMOTE);
    const spoiled = `${token.slice(0, -8)}AAAAAAAA`;
    expect(await bear(spoiled)).toBe(401);
    const file = await readFile(tokenFile(REMOTE), 'utf8');
    await writeFile(tokenFile(REMOTE), file.replace(token, spoiled));
    expect(await incus('list', `${REMOTE}:`, '--format', 'csv')).toMatchObject({ code: 0, stderr: '' });
    expect(await bear(await storedToken(REMOTE))).toBe(200);
  });

  it('is told when a person denies it: it asks anew, and is not logged in', async () => {
    const waiting = await startLogin('denied');
    const page = await openPage(waiting.url);
    await logIn(page, user, password);
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.getByRole('heading', { name: 'Denied' }).waitFor();
    await page.context().close();
    await waitFor('incus to ask again', async () => waiting.output().split('URL: ').length > 2 || undefined);
    await waiting.stop();
    expect((await incus('remote', 'list', '--format', 'csv')).stdout).not.toContain('denied');
  });

  it('sees what its user may, and nothing once the user is removed', async () => {
    const secret = await addUser(other, '--read-only');
    const waiting = await startLogin('looker');
    const page = await openPage(waiting.url);
    await logIn(page, other, secret);
    await page.getByRole('button', { name: 'Allow' }).click();
    expect(await waiting.ended).toMatchObject({ code: 0 });
    await page.context().close();
    expect(await incus('list', 'looker:', '--format', 'csv')).toMatchObject({ code: 0 });
    const refused = await incus('profile', 'create', `looker:${newName('none')}`);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('not authorized')]);
    const token = await storedToken('looker');
    expect(await bear(token)).toBe(200);
    expect(await longshore('user', 'list')).toMatch(new RegExp(`^${other} +\\(all\\) +read-only `, 'm'));
    await longshore('user', 'remove', other);
    expect(await bear(token)).toBe(401);
    expect(await bear(await storedToken(REMOTE))).toBe(200);
  });

  it('cannot log in any more after the last user', async () => {
    await longshore('user', 'remove', user);
    expect(await bear(await storedToken(REMOTE))).toBe(403);
    expect((await incus('list', `${REMOTE}:`)).code).not.toBe(0);
  });
});

describe('a configured issuer', () => {
  const CLIENT = 'lxd';
  const claims = { sub: 'u-1', email: 'eve@example.org', aud: CLIENT };

  /** As an identity provider in a laboratory: its keys are all that the control plane asks it for. */
  async function startProvider() {
    const { publicKey, privateKey } = await generateKeyPair('RS256');
    const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }] };
    const server = createServer((request, response) => {
      const isKeys = request.url === '/keys';
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(isKeys ? keys : { issuer, jwks_uri: `${issuer}/keys` }));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const sign = (more: Record<string, unknown> = {}) =>
      new SignJWT({ ...claims, ...more })
        .setProtectedHeader({ alg: 'RS256', kid: 'one' })
        .setIssuer(issuer)
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey);
    return { issuer, sign, stop: () => new Promise((done) => server.close(done)) };
  }
  const configure = (config: Record<string, string>) =>
    api({ method: 'PATCH', path: '/1.0', body: JSON.stringify({ config }) });
  afterAll(() => configure({ 'oidc.issuer': '', 'oidc.client.id': '', 'oidc.allow_private': '' }));

  it('vouches for its users, at a private address only where that is allowed, and does no harm when it is away', async () => {
    const provider = await startProvider();
    try {
      const [good, foreign] = [await provider.sign(), await provider.sign({ aud: 'wiki' })];
      await configure({ 'oidc.issuer': provider.issuer, 'oidc.client.id': CLIENT });
      expect(await bear(good)).toBe(401);
      await configure({ 'oidc.allow_private': 'true' });
      expect([await bear(good), await bear(foreign)]).toEqual([200, 401]);
      const headers = { authorization: `Bearer ${good}` };
      const { body } = await api({ method: 'GET', path: '/1.0', anonymous: true, headers });
      expect(body.metadata).toMatchObject({ auth_user_name: 'eve@example.org', auth_user_method: 'oidc' });
    } finally {
      await provider.stop();
    }
    const away = await startProvider();
    const token = await away.sign();
    await away.stop();
    await configure({ 'oidc.issuer': away.issuer });
    expect(await bear(token)).toBe(401);
  });
});
