/** A whole control plane on one machine: database → schema → worker → TLS front, in this order, and backwards at the end. */
import type { ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { publishAgent } from './agent-release.ts';
import { ensureBootstrapToken } from './bootstrap.ts';
import { buildLongshore, buildWorker } from './build.ts';
import { ensureServerCertificate, fingerprintOf } from './certificate.ts';
import { startDatabase } from './database.ts';
import { startFront } from './front.ts';
import { ensureSecrets } from './keys.ts';
import { applyMigrations } from './migrate.ts';
import { inRepository } from './paths.ts';
import { type Endpoint, formatEndpoint } from './port.ts';
import { type Supervised, supervise } from './supervisor.ts';
import { trustClient } from './trust.ts';
import { waitFor } from './wait.ts';
import { CF_BLOB_HEADER, socketPathOf, startWorkerd, type WorkerdOptions, writeWorkerdConfig } from './workerd.ts';
import { startWriteQueue } from './write-queue.ts';

export interface ControlPlaneOptions {
  dataDir: string;
  listen: readonly Endpoint[];
  /** What clients and agents reach it under, in tokens. */
  addresses: readonly string[];
  /** Certificates (PEM) of clients to let in from the start. */
  trust?: readonly { name: string; certificate: string }[];
  logLevel?: string;
  /** How many replicas of the database; reads go to the first. Default: none. */
  replicas?: number;
  /** The worker's entry; default: the product's. */
  worker?: string;
  log?: (line: string) => void;
}

export interface ControlPlane {
  fingerprint: string;
  certificate: string;
  endpoints: Endpoint[];
  databasePort: number;
  databasePid(): number | undefined;
  replicaPids(): (number | undefined)[];
  workerPid(): number | undefined;
  stop(): Promise<void>;
}

/** workerd waits for open websockets at SIGTERM, for ever: agents hold theirs open. */
const WORKER_GRACE_MS = 5_000;

/** Resolves when it answers requests. Throws with nothing left running; `code` is EADDRINUSE when a port is taken. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const log = options.log ?? ((line) => console.error(`control plane: ${line}`));
  const dir = path.resolve(options.dataDir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const hosts = options.addresses.map((address) => address.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
  const files = { certificate: path.join(dir, 'server.crt'), key: path.join(dir, 'server.key') };
  const [secrets, pair, worker] = await Promise.all([
    ensureSecrets(dir),
    ensureServerCertificate(files, hosts),
    buildWorker(options.worker),
  ]);
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const step of stops.splice(0).reverse()) await step();
  };
  try {
    const database = await startDatabase({ dataDir: dir, replicas: options.replicas ?? 0, secrets, log });
    stops.push(() => database.stop());
    const access = { url: `http://127.0.0.1:${database.port}`, authToken: secrets.databaseToken };
    await applyMigrations(access, inRepository('migrations'));
    for (const client of options.trust ?? []) await trustClient(access, client.name, client.certificate);
    const server = { fingerprint: fingerprintOf(pair.certificate), addresses: options.addresses };
    await ensureBootstrapToken(access, dir, server);

    const writeSocket = path.join(dir, 'run', 'write.sock');
    await mkdir(path.dirname(writeSocket), { recursive: true, mode: 0o700 });
    const queue = await startWriteQueue(writeSocket, database.port);
    stops.push(() => queue.close());
    const runtime = await superviseWorker(
      {
        dataDir: dir,
        worker,
        databasePort: database.port,
        writeSocket,
        readPort: database.readPort,
        vars: {
          LIBSQL_URL: 'http://database',
          ...(database.readPort === null ? {} : { LIBSQL_READ_URL: 'http://database-near' }),
          LIBSQL_AUTH_TOKEN: secrets.databaseToken,
          SIGNING_SECRET: secrets.signingSecret,
          PUBLIC_ADDRESSES: options.addresses.join(','),
          SERVER_CERTIFICATE: pair.certificate,
          LINK_SHARDS: '1',
          LOG_LEVEL: options.logLevel ?? 'info',
        },
      },
      log,
    );
    stops.push(() => runtime.stop());
    const front = await startFront({
      ...pair,
      listen: options.listen,
      upstream: socketPathOf(dir),
      blobHeader: CF_BLOB_HEADER,
    });
    stops.push(() => front.close());
    log(`serving on ${front.endpoints.map(formatEndpoint).join(', ')}`);
    // Nobody waits for it at the start, and nothing but upgrades of agents needs it.
    void offerAgent(dir).catch((error: unknown) => log(`no release of the agent to offer: ${String(error)}`));
    return {
      fingerprint: fingerprintOf(pair.certificate),
      certificate: pair.certificate,
      endpoints: front.endpoints,
      databasePort: database.port,
      databasePid: database.pid,
      replicaPids: database.replicaPids,
      workerPid: runtime.pid,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

const offerAgent = async (dir: string) => publishAgent(path.join(dir, 'blobs'), await buildLongshore());

async function superviseWorker(options: WorkerdOptions, log: (line: string) => void): Promise<Supervised> {
  const config = await writeWorkerdConfig(options);
  const socketPath = socketPathOf(options.dataDir);
  return supervise(
    {
      name: 'workerd',
      start: () => startWorkerd(options, config),
      ready: (child) => waitForSocket(child, socketPath),
      graceMs: WORKER_GRACE_MS,
    },
    log,
  );
}

async function waitForSocket(child: ChildProcess, socketPath: string): Promise<void> {
  const accepts = () =>
    new Promise<boolean>((resolve) => {
      const socket = net.connect(socketPath, () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  await waitFor('the worker', () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('workerd ended at its start');
    return accepts();
  });
}
