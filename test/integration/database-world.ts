/** A real control plane whose database can be killed, stopped, slowed down and run out of disk, driven over HTTPS. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from '@libsql/client';
import { ensureClientCertificate } from '#selfhost/certificate.ts';
import { startControlPlane } from '#selfhost/control-plane.ts';
import { ensureSecrets } from '#selfhost/keys.ts';
import { run } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';

export interface Answer {
  status: number;
  retryAfter: string | null;
  tookMs: number;
}

export interface DatabaseWorld {
  ask(method: string, url: string, body?: unknown): Promise<Answer>;
  /** Holds what goes between worker and database for so long, each way. */
  delay(ms: number): void;
  databasePid(): Promise<number>;
  /** Where the database's files are. */
  disk: string;
  /** Asks the database itself, past worker and relay. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

/** Hangs are what this is about: no answer by then is a failure of the test. */
const ANSWER_LIMIT_MS = 60_000;

/** With `diskBytes`, the database is on a file system of its own of that size. */
export async function startDatabaseWorld(diskBytes: number | null): Promise<DatabaseWorld> {
  const dir = await mkdtemp(path.join(tmpdir(), 'longshore-dbf-'));
  const data = path.join(dir, 'data');
  const disk = path.join(data, 'db');
  await mkdir(disk, { recursive: true, mode: 0o700 });
  if (diskBytes !== null) await run('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs', disk]);
  const stops: (() => Promise<unknown>)[] = [
    () => rm(dir, { recursive: true, force: true }),
    ...(diskBytes === null ? [] : [() => run('umount', [disk])]),
  ];
  const stop = async () => {
    for (const step of stops.splice(0).reverse()) await step();
  };
  try {
    const files = { certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') };
    const client = await ensureClientCertificate(files, 'me');
    const plane = await startControlPlane({
      dataDir: data,
      listen: [{ host: '127.0.0.1', port: 0 }],
      addresses: ['127.0.0.1:8443'],
      trust: [{ name: 'me', certificate: client.certificate }],
      logLevel: 'error',
      log: () => {},
    });
    stops.push(() => plane.stop());
    const line = { delayMs: 0 };
    const reads = await startRelay({ host: '127.0.0.1', port: plane.databasePort }, line);
    const writes = await startRelay({ path: path.join(data, 'run/write.sock') }, line);
    stops.push(reads.close, writes.close);
    await reroute(data, plane.databasePort, reads.port, writes.port);
    const [{ databaseToken: authToken }, worker] = [await ensureSecrets(data), plane.workerPid()];
    if (worker === undefined) throw new Error('The worker does not run');
    process.kill(worker, 'SIGKILL');
    const ask = createAsk(plane.endpoints[0]?.port ?? 0, client);
    await waitFor('the worker by its new line', async () => (await ask('GET', '/1.0/profiles')).status === 200, {
      timeoutMs: 30_000,
      everyMs: 100,
    });
    return {
      ask,
      delay: (ms) => {
        line.delayMs = ms;
      },
      databasePid: () => waitFor('a database process', () => plane.databasePid(), { timeoutMs: 30_000 }),
      disk,
      query: async (sql) => {
        const database = createClient({ url: `http://127.0.0.1:${plane.databasePort}`, authToken });
        try {
          return (await database.execute(sql)).rows.map((row) => ({ ...row }));
        } finally {
          database.close();
        }
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The next worker finds its database through the relays. */
async function reroute(data: string, port: number, reads: number, writes: number): Promise<void> {
  const file = path.join(data, 'run/workerd.capnp');
  const config = await readFile(file, 'utf8');
  const rerouted = config
    .replace(`"127.0.0.1:${port}"`, `"127.0.0.1:${reads}"`)
    .replace(/"unix:[^"]*write\.sock"/, `"127.0.0.1:${writes}"`);
  if (rerouted === config) throw new Error('The worker’s configuration names no database');
  await writeFile(file, rerouted, { mode: 0o600 });
}

async function startRelay(target: net.NetConnectOpts, line: { delayMs: number }) {
  const open = new Set<net.Socket>();
  const pass = (from: net.Socket, to: net.Socket) => {
    open.add(from);
    from.on('data', (chunk) => setTimeout(() => to.writable && to.write(chunk), line.delayMs));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      open.delete(from);
      setTimeout(() => to.destroy(), line.delayMs);
    });
  };
  const server = net.createServer((near) => {
    const far = net.connect(target);
    pass(near, far);
    pass(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The relay has no port');
  return {
    port: address.port,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A refused connection counts as no answer at all: the front is up all the time. */
function createAsk(port: number, { certificate: cert, key }: { certificate: string; key: string }) {
  return (method: string, url: string, body?: unknown): Promise<Answer> => {
    const startMs = performance.now();
    const options = { host: '127.0.0.1', port, path: url, method, cert, key, timeout: ANSWER_LIMIT_MS };
    return new Promise((resolve, reject) => {
      const request = https.request({ ...options, rejectUnauthorized: false, agent: false }, (response) => {
        response.resume();
        response.on('end', () => {
          const retryAfter = response.headers['retry-after'] ?? null;
          resolve({ status: response.statusCode ?? 0, retryAfter, tookMs: performance.now() - startMs });
        });
        response.on('error', reject);
      });
      request.on('timeout', () => request.destroy(new Error(`${method} ${url} was not answered`)));
      request.on('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  };
}
