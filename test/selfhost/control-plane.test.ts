/** The real sqld and the real workerd, with a worker of a few lines. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureClientCertificate, fingerprintOf } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { waitFor } from '#selfhost/wait.ts';

const WORKER = `
import { DurableObject } from 'cloudflare:workers';
export class Links extends DurableObject {}
export class Stream extends DurableObject {}
export class Cluster extends DurableObject {
  async count() {
    const next = ((await this.ctx.storage.get('n')) ?? 0) + 1;
    await this.ctx.storage.put('n', next);
    return next;
  }
}
const sql = async (env, statement) => {
  const body = JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: statement } }, { type: 'close' }] });
  const headers = { authorization: 'Bearer ' + env.LIBSQL_AUTH_TOKEN };
  return (await env.DB.fetch(env.LIBSQL_URL + '/v2/pipeline', { method: 'POST', body, headers })).json();
};
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/count') return Response.json(await env.CLUSTER.get(env.CLUSTER.idFromName('x')).count());
    if (pathname === '/sql') return Response.json(await sql(env, await request.text()));
    if (pathname === '/blob') return env.IMAGES_DISK.fetch('http://disk/a/b', { method: request.method, body: request.body });
    const { DB, CLUSTER, LINKS, STREAM, IMAGES_DISK, ...vars } = env;
    return Response.json({ cf: request.cf, vars });
  },
};
`;

let dir: string;
let plane: ControlPlane;
let client: { certificate: string; key: string };

const start = () =>
  startControlPlane({
    dataDir: path.join(dir, 'data'),
    listen: [{ host: '127.0.0.1', port: 0 }],
    addresses: ['10.1.2.3:8443'],
    trust: [{ name: 'me', certificate: client.certificate }],
    worker: path.join(dir, 'worker.js'),
    log: () => {},
  });

function ask(url: string, method = 'GET', body = ''): Promise<{ status: number; text: string }> {
  const { certificate: cert, key } = client;
  const options = { host: '127.0.0.1', port: plane.endpoints[0]?.port, path: url, method, cert, key };
  return new Promise((resolve, reject) => {
    const request = https.request({ ...options, rejectUnauthorized: false, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const rows = async (statement: string) => {
  const answer = JSON.parse((await ask('/sql', 'POST', statement)).text);
  return answer.results[0].response.result.rows.map((row: { value: unknown }[]) => row.map((cell) => cell.value));
};

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-cp-'));
  await writeFile(path.join(dir, 'worker.js'), WORKER);
  client = await ensureClientCertificate(
    { certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') },
    'me@here',
  );
  plane = await start();
});

afterAll(async () => {
  await plane.stop();
  await rm(dir, { recursive: true });
});

test('gives the worker its variables and the client’s certificate', async () => {
  const { cf, vars } = JSON.parse((await ask('/')).text);
  expect(cf.tlsClientAuth.certFingerprintSHA256).toBe(fingerprintOf(client.certificate));
  expect(vars).toMatchObject({ PUBLIC_ADDRESSES: '10.1.2.3:8443', LINK_SHARDS: '1', LOG_LEVEL: 'info' });
  expect(vars.SERVER_CERTIFICATE).toBe(plane.certificate);
  expect(Buffer.from(vars.SIGNING_SECRET, 'base64')).toHaveLength(32);
});

test('has applied the migrations, and trusts the client it was told to', async () => {
  expect(await rows('SELECT fingerprint, type, restricted, projects FROM certificates')).toEqual([
    [fingerprintOf(client.certificate), 'client', '0', '[]'],
  ]);
});

test('refuses the database to whoever has no token', async () => {
  const statement = { requests: [{ type: 'execute', stmt: { sql: 'SELECT 1' } }] };
  const config = readFileSync(path.join(dir, 'data/run/workerd.capnp'), 'utf8');
  const port = /127\.0\.0\.1:(\d+)/.exec(config)?.[1];
  const answer = await fetch(`http://127.0.0.1:${port}/v2/pipeline`, {
    method: 'POST',
    body: JSON.stringify(statement),
  });
  expect(answer.status).toBe(401);
});

test('lets nobody but its owner at the keys and the worker’s socket', async () => {
  for (const name of ['', 'run', 'server.key', 'signing.secret', 'database.key', 'run/workerd.capnp']) {
    const { mode } = await stat(path.join(dir, 'data', name));
    expect({ name, others: mode & 0o077 }).toEqual({ name, others: 0 });
  }
});

test('keeps blobs', async () => {
  expect((await ask('/blob', 'PUT', 'content')).status).toBe(204);
  expect((await ask('/blob')).text).toBe('content');
});

test.each([
  ['workerd', () => plane.workerPid()],
  ['sqld', () => plane.databasePid()],
])('serves again after %s was killed', async (_name, pidOf) => {
  const pid = pidOf();
  if (pid === undefined) throw new Error('not running');
  process.kill(pid, 'SIGKILL');
  await waitFor('another process', () => pidOf() !== undefined && pidOf() !== pid);
  await waitFor('an answer', async () => {
    const { status, text } = await ask('/sql', 'POST', 'SELECT count(*) FROM certificates').catch(() => ({
      status: 0,
      text: '',
    }));
    return status === 200 && text.includes('"rows"');
  });
});

test('keeps keys, certificate and objects over a restart, and leaves no process', async () => {
  const before = { fingerprint: plane.fingerprint, count: Number((await ask('/count')).text) };
  const pids = [plane.workerPid(), plane.databasePid()];
  await plane.stop();
  for (const pid of pids) expect(existsSync(`/proc/${pid}`)).toBe(false);
  plane = await start();
  expect(plane.fingerprint).toBe(before.fingerprint);
  expect(Number((await ask('/count')).text)).toBe(before.count + 1);
  expect(await rows('SELECT count(*) FROM certificates')).toEqual([['1']]);
});
