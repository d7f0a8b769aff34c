/**
 * The worker's runtime: raw workerd with SQLite-backed Durable Objects and image blobs on disk. It listens on a unix socket in
 * a directory that only root can enter, because whoever reaches that socket can claim any client certificate.
 */
import type { ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { inRepository } from './paths.ts';
import { startDaemon } from './run.ts';

/** Header on the private socket that becomes `request.cf`. The front strips it from what clients send. */
export const CF_BLOB_HEADER = 'x-longshore-cf-blob';

export interface WorkerdOptions {
  /** Everything below it is ours: `objects/`, `blobs/`, `run/`. */
  dataDir: string;
  /** The bundle: one ES module. */
  worker: string;
  databasePort: number;
  /** Unix socket of the queue that writes go through. */
  writeSocket: string;
  /** Of the replica that reads go to; null when there is none. */
  readPort: number | null;
  vars: Record<string, string>;
}

/** The Durable Objects: binding → class. The unique keys name their storage and must never change. */
const OBJECTS = { CLUSTER: 'Cluster', LINKS: 'Links', STREAM: 'Stream' };
const uniqueKeyOf = (name: string) => `longshore-${name.toLowerCase()}`;

/** Longest path that fits a unix socket address. */
const MAX_SOCKET_PATH = 107;

/** The socket it will listen on. Throws when the data directory's path is too long for one. */
export function socketPathOf(dataDir: string): string {
  const socket = path.join(dataDir, 'run', 'worker.sock');
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
    throw new Error(`The path of the data directory is too long for a socket: ${dataDir}`);
  }
  return socket;
}

/** Writes bundle and configuration below the data directory. Resolves to the configuration's path. */
export async function writeWorkerdConfig(options: WorkerdOptions): Promise<string> {
  const run = path.join(options.dataDir, 'run');
  await mkdir(run, { recursive: true, mode: 0o700 });
  for (const dir of ['objects', 'blobs'])
    await mkdir(path.join(options.dataDir, dir), { recursive: true, mode: 0o700 });
  await writeFile(path.join(run, 'worker.js'), await readFile(options.worker));
  const file = path.join(run, 'workerd.capnp');
  await writeFile(file, renderConfig(options, await readCompatibility()), { mode: 0o600 });
  return file;
}

/** Starts it; it serves about 0.1 s later (`socketPathOf`). */
export function startWorkerd(options: WorkerdOptions, config: string): ChildProcess {
  rmSync(socketPathOf(options.dataDir), { force: true });
  // Each stream has left a file there, with nothing in it: nothing of a stream outlives its sockets.
  rmSync(path.join(options.dataDir, 'objects', uniqueKeyOf('Stream')), { recursive: true, force: true });
  // The package's `bin` is a script that starts the program: its kill would not reach the program.
  const program: unknown = createRequire(inRepository('package.json'))('workerd').default;
  return startDaemon(String(program), ['serve', config], { env: options.vars });
}

/** The same date and flags as on Cloudflare. */
async function readCompatibility(): Promise<{ date: string; flags: string[] }> {
  const text = await readFile(inRepository('wrangler.toml'), 'utf8');
  const date = /^compatibility_date = "([\d-]+)"/m.exec(text)?.[1];
  const flags = /^compatibility_flags = \[(.*)\]/m.exec(text)?.[1];
  if (date === undefined || flags === undefined) throw new Error('wrangler.toml has no compatibility date or flags');
  return { date, flags: [...flags.matchAll(/"([^"]+)"/g)].flatMap((match) => match[1] ?? []) };
}

/** Cap'n Proto text. Strings that are not ours are quoted as JSON, whose escapes it shares. */
function renderConfig(options: WorkerdOptions, compatibility: { date: string; flags: string[] }): string {
  const quote = (text: string) => JSON.stringify(text);
  const disk = (name: string, dir: string) =>
    `(name = "${name}", disk = (path = ${quote(path.join(options.dataDir, dir))}, writable = true))`;
  const namespaces = Object.values(OBJECTS).map(
    (name) => `(className = "${name}", uniqueKey = "${uniqueKeyOf(name)}", enableSql = true)`,
  );
  const bindings = [
    ...Object.entries(OBJECTS).map(([key, name]) => `(name = "${key}", durableObjectNamespace = "${name}")`),
    '(name = "DB", service = "database")',
    '(name = "DB_WRITE", service = "database-write")',
    '(name = "PRIVATE_NETWORK", service = "private-network")',
    ...(options.readPort === null ? [] : ['(name = "DB_READ", service = "database-near")']),
    '(name = "IMAGES_DISK", service = "blobs")',
    ...Object.keys(options.vars).map((name) => `(name = "${name}", fromEnvironment = "${name}")`),
  ];
  const external = (name: string, address: string) =>
    `(name = "${name}", external = (address = ${quote(address)}, http = ()))`;
  const databases = [
    external('database', `127.0.0.1:${options.databasePort}`),
    external('database-write', `unix:${options.writeSocket}`),
    ...(options.readPort === null ? [] : [external('database-near', `127.0.0.1:${options.readPort}`)]),
  ];
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    ${databases.join(',\n    ')},
    (name = "private-network", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    ${disk('objects', 'objects')},
    ${disk('blobs', 'blobs')},
  ],
  sockets = [(
    name = "main",
    address = ${quote('unix:' + socketPathOf(options.dataDir))},
    http = (cfBlobHeader = "${CF_BLOB_HEADER}"),
    service = "main",
  )],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "${compatibility.date}",
  compatibilityFlags = [${compatibility.flags.map(quote).join(', ')}],
  durableObjectNamespaces = [
    ${namespaces.join(',\n    ')},
  ],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    ${bindings.join(',\n    ')},
  ],
);
`;
}
