/** A replicated control plane for real: sqld with two replicas, workerd, and the product's Worker, driven over HTTPS. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureClientCertificate } from '#selfhost/certificate.ts';
import { type ControlPlane, startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { inRepository } from '#selfhost/paths.ts';
import { run } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';

const WRITES = 40;

let dir: string;
let data: string;
let client: { certificate: string; key: string };
let plane: ControlPlane;

const start = () =>
  startControlPlane({
    dataDir: data,
    listen: [{ host: '127.0.0.1', port: 0 }],
    addresses: ['127.0.0.1:8443'],
    trust: [{ name: 'me', certificate: client.certificate }],
    replicas: 2,
    log: () => {},
  });

function ask(method: string, url: string, body?: unknown): Promise<{ status: number; retryAfter: boolean }> {
  const { certificate: cert, key } = client;
  const options = { host: '127.0.0.1', port: plane.endpoints[0]?.port, path: url, method, cert, key };
  return new Promise((resolve, reject) => {
    const request = https.request({ ...options, rejectUnauthorized: false, agent: false }, (response) => {
      response.resume();
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, retryAfter: 'retry-after' in response.headers }),
      );
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const create = (name: string) => ask('POST', '/1.0/profiles', { name, config: {}, devices: {} });
const look = async (name: string) => (await ask('GET', `/1.0/profiles/${name}`)).status;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-rep-'));
  data = path.join(dir, 'data');
  client = await ensureClientCertificate({ certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') }, 'me');
  plane = await start();
}, 60_000);

afterAll(async () => {
  await plane?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** Asks the first replica itself. */
async function replicaHas(name: string): Promise<boolean> {
  const config = readFileSync(path.join(data, 'run/workerd.capnp'), 'utf8');
  const address = /"database-near", external = \(address = "([^"]+)"/.exec(config)?.[1];
  const { databaseToken } = await ensureSecrets(data);
  const replica = createClient({ url: `http://${address}`, authToken: databaseToken });
  try {
    return (await replica.execute({ sql: 'select 1 from profiles where name = ?', args: [name] })).rows.length === 1;
  } finally {
    replica.close();
  }
}

const signalReplica = (signal: 'SIGSTOP' | 'SIGCONT') => {
  const pid = plane.replicaPids()[0];
  if (pid === undefined) throw new Error('the replica does not run');
  process.kill(pid, signal);
};

describe('a control plane with two replicas', () => {
  it('shows each write to the reads after it', async () => {
    for (let index = 0; index < WRITES; index++) {
      const name = `seen-${index}`;
      expect((await create(name)).status).toBe(201);
      expect({ name, status: await look(name) }).toEqual({ name, status: 200 });
    }
  });

  it('answers reads while the near replica hangs, and with what was written then', async () => {
    signalReplica('SIGSTOP');
    try {
      expect((await create('meanwhile')).status).toBe(201);
      expect(await look('meanwhile')).toBe(200);
    } finally {
      signalReplica('SIGCONT');
    }
  });

  it('never goes back in time while the primary is killed and starts again', async () => {
    const pid = plane.databasePid();
    if (pid === undefined) throw new Error('the primary does not run');
    process.kill(pid, 'SIGKILL');
    await waitFor(
      'the primary to take a write again',
      async () => {
        const seen = await ask('GET', '/1.0/profiles/meanwhile');
        // Away is said as 503 with Retry-After; "not found" would be time going backwards.
        if (seen.status !== 200) expect(seen).toEqual({ status: 503, retryAfter: true });
        return (await create(`after-${Date.now()}`)).status === 201;
      },
      { timeoutMs: 30_000, everyMs: 50 },
    );
    expect(await look('meanwhile')).toBe(200);
  });

  it('serves again from a promoted replica when the primary is lost, and is followed by the others', async () => {
    expect((await create('last')).status).toBe(201);
    await waitFor('the replica to have it', () => replicaHas('last'), { timeoutMs: 30_000 });
    await plane.stop();
    await rm(path.join(data, 'db'), { recursive: true });
    const promoted = await run(inRepository('bin/longshore'), ['promote', '1', '--data', data]);
    expect(promoted.stdout).toContain('Replica 1 is the database of the next start.');
    expect(existsSync(path.join(data, 'replica-1'))).toBe(false);

    plane = await start();
    for (const name of ['seen-0', 'meanwhile', 'last'])
      expect({ name, status: await look(name) }).toEqual({ name, status: 200 });
    expect((await create('afterwards')).status).toBe(201);
    expect(await look('afterwards')).toBe(200);
  });
});
