/** The database of a control plane: the primary, and replicas of it when asked for. Started in this order, ended backwards. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { createClient } from '@libsql/client';
import type { Secrets } from './keys.ts';
import { findFreePort } from './port.ts';
import { ensurePeerFiles, type PeerFiles, replicaDir } from './replication.ts';
import { startSqld, waitUntilServing } from './sqld.ts';
import { type Supervised, supervise } from './supervisor.ts';

export interface DatabaseOptions {
  dataDir: string;
  replicas: number;
  secrets: Secrets;
  log(line: string): void;
}

export interface Database {
  port: number;
  /** The replica that reads go to; null without replicas. */
  readPort: number | null;
  pid(): number | undefined;
  replicaPids(): (number | undefined)[];
  stop(): Promise<void>;
}

const GRACE_MS = 5_000;

/** Resolves when all of it serves. Throws with nothing left running. */
export async function startDatabase(options: DatabaseOptions): Promise<Database> {
  const { dataDir: dir, replicas, secrets, log } = options;
  const numbers = Array.from({ length: replicas }, (_, index) => index + 1);
  const [port = 0, streamPort = 0, ...replicaPorts] = await freePorts(2 + replicas);
  const stream = replicas > 0 ? { port: streamPort, peer: await ensurePeerFiles(dir) } : undefined;
  const running: Supervised[] = [];
  const stop = async () => {
    for (const service of running.splice(0).reverse()) await service.stop();
  };
  try {
    const primary = await superviseSqld('sqld', path.join(dir, 'db'), port, { serves: stream });
    running.push(primary);
    const followers = await Promise.all(
      numbers.map((number, index) =>
        superviseSqld(`replica ${number}`, replicaDir(dir, number), replicaPorts[index] ?? 0, { follows: stream }),
      ),
    );
    running.push(...followers);
    return {
      port,
      readPort: replicaPorts[0] ?? null,
      pid: primary.pid,
      replicaPids: () => followers.map((follower) => follower.pid()),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }

  async function superviseSqld(name: string, home: string, ownPort: number, part: Part): Promise<Supervised> {
    await mkdir(home, { recursive: true, mode: 0o700 });
    const { serves, follows } = part;
    const sqld = {
      ...{ dataDir: home, port: ownPort, publicKeyFile: secrets.databaseKeyFile },
      ...(serves === undefined ? {} : { serves }),
      ...(follows === undefined ? {} : { follows }),
    };
    const service = {
      name,
      start: () => startSqld(sqld),
      ready: (child: ReturnType<typeof startSqld>) => waitUntilServing(child, ownPort),
      graceMs: GRACE_MS,
      ...(follows === undefined ? { probe: () => takesWrites(ownPort, secrets.databaseToken) } : {}),
    };
    const started = await supervise(service, log);
    // A replica attaches to its primary at the first statement: one that never had any blocks when the primary is away.
    if (follows !== undefined)
      await firstStatement(ownPort, secrets.databaseToken).catch((error) => log(`${name}: ${error}`));
    return started;
  }
}

interface Part {
  serves?: { port: number; peer: PeerFiles } | undefined;
  follows?: { port: number; peer: PeerFiles } | undefined;
}

/** All different: they are taken one after the other, while the earlier ones are held open by nobody. */
async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await findFreePort());
  return [...ports];
}

/** More than any queue of writers that moves. */
const WRITE_LIMIT_MS = 5_000;

/**
 * Rejects when the primary lets everybody wait for its writer's lock. sqld 0.24 can lose it: a writer that gave up while a checkpoint ran
 * stays first in its queue (`connection_manager.rs`), and then every other one waits for it for ever.
 */
async function takesWrites(port: number, token: string): Promise<void> {
  const steps = ['begin immediate', 'rollback'].map((sql) => ({ type: 'execute', stmt: { sql } }));
  const response = await fetch(`http://127.0.0.1:${port}/v2/pipeline`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({ requests: [...steps, { type: 'close' }] }),
    signal: AbortSignal.timeout(WRITE_LIMIT_MS),
  });
  // A refusal is an answer: whoever waits is told something.
  await response.text();
}

async function firstStatement(port: number, authToken: string): Promise<void> {
  const client = createClient({ url: `http://127.0.0.1:${port}`, authToken });
  try {
    await client.execute('select 1');
  } finally {
    client.close();
  }
}
