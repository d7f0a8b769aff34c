/**
 * The local API of a host that is no member yet: as much as `lxd init` and the first steps of LXD's tutorials ask for. What is
 * made here is only noted, as a preseed, and brought about when the host forms or joins a cluster; nothing on the host changes
 * before that.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { WebSocketServer } from 'ws';
import { z } from 'zod';
import { AppError, badRequest, failed, notFound } from '#protocol/errors.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { Preseed } from '../init/preseed.ts';
import type { Log } from '../log.ts';
import { AGENT_VERSION } from '../version.ts';
import { changeStaged } from './unjoined-resources.ts';

/** What `PUT /1.0/cluster` asks for. */
export const ClusterRequest = z.object({
  server_name: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  enabled: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
  member_config: z
    .array(
      z.object({ entity: z.enum(['storage-pool', 'network']), name: z.string(), key: z.string(), value: z.string() }),
    )
    .nullish()
    .transform((value) => value ?? []),
  cluster_address: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  cluster_certificate: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  cluster_password: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
  cluster_token: z
    .string()
    .nullish()
    .transform((value) => value ?? ''),
});
export type ClusterRequest = z.infer<typeof ClusterRequest>;

export interface UnjoinedDeps {
  log: Log;
  hostname: string;
  readResources(): Promise<HostResources>;
  /** What was noted so far. */
  read(): Preseed;
  write(preseed: Preseed): void;
  /** Checks the request at once and throws for one that is not good; what it resolves to is the work itself. */
  enter(request: ClusterRequest): { description: string; work(): Promise<void> };
}

export interface UnjoinedApi {
  create(): Server;
  /** Resolves when the host has become a member and its clients have been told. */
  joined: Promise<void>;
  /** True while a client's join is under way: nobody else may take over. */
  isBusy(): boolean;
}

interface Operation {
  id: string;
  description: string;
  created_at: string;
  updated_at: string;
  status: string;
  status_code: number;
  err: string;
}

/** The extensions that `lxd init` and the stock client look at for what is here. */
const EXTENSIONS = [
  'etag',
  'patch',
  'network',
  'storage',
  'resources',
  'clustering',
  'clustering_join',
  'clustering_join_token',
  'clustering_server_address',
  'clustering_roles',
  'projects',
  'instances',
  'operation_description',
  'event_location',
  'event_project',
  'api_filtering',
  'server_supported_storage_drivers',
  'instance_nic_network',
  'certificate_token',
];

/** How long a client that waits for the end of its operation is given to hear of it. */
const FAREWELL_MS = 5_000;

/** The API's state and its servers, one for each socket. */
export function createUnjoinedApi(deps: UnjoinedDeps): UnjoinedApi {
  const sockets = new WebSocketServer({ noServer: true });
  let current: Operation | null = null;
  let finish = () => {};
  const joined = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const waiting = new Set<() => void>();

  const show = (operation: Operation) => ({
    ...operation,
    class: 'task',
    resources: { cluster: null },
    metadata: null,
    may_cancel: false,
    location: 'none',
  });
  const publish = (operation: Operation) => {
    const event = { type: 'operation', timestamp: operation.updated_at, metadata: show(operation), location: 'none' };
    for (const socket of sockets.clients) socket.send(JSON.stringify(event));
  };
  const settle = (operation: Operation, status: 'Success' | 'Failure', err: string) => {
    Object.assign(operation, {
      status,
      status_code: status === 'Success' ? 200 : 400,
      err,
      updated_at: new Date().toISOString(),
    });
    publish(operation);
    for (const wake of waiting) wake();
    waiting.clear();
    if (status === 'Success') void farewell().then(finish);
  };
  /** Clients close their event socket when they have what they waited for. */
  const farewell = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FAREWELL_MS);
      const look = () => {
        if (sockets.clients.size > 0) return;
        clearTimeout(timer);
        resolve();
      };
      for (const socket of sockets.clients) socket.once('close', () => setImmediate(look));
      // One that polls instead asks once more.
      setTimeout(look, 500);
    });

  function startOperation(body: unknown): Operation {
    const request = ClusterRequest.parse(body);
    if (current?.status === 'Running' || current?.status === 'Success')
      throw badRequest('This server is already clustered');
    const { description, work } = deps.enter(request);
    const now = new Date().toISOString();
    const operation: Operation = {
      id: randomUUID(),
      description,
      created_at: now,
      updated_at: now,
      status: 'Running',
      status_code: 103,
      err: '',
    };
    current = operation;
    publish(operation);
    work().then(
      () => settle(operation, 'Success', ''),
      (error: unknown) => {
        deps.log.warn('unjoined.enter.failed', { err: error });
        settle(operation, 'Failure', error instanceof Error ? error.message : String(error));
      },
    );
    return operation;
  }

  async function answer(incoming: IncomingMessage): Promise<Reply> {
    const url = new URL(incoming.url ?? '/', 'http://unix.socket');
    const path = url.pathname.replace(/\/+$/, '') || '/';
    const method = incoming.method ?? 'GET';
    if (path === '/') return sync(['/1.0']);
    const [, , collection = '', name = '', verb = ''] = path.split('/').map(decodeURIComponent);
    if (collection === 'cluster' && name === '') {
      if (method === 'GET') return sync({ server_name: '', enabled: false, member_config: [] });
      if (method === 'PUT') {
        const operation = startOperation(await readJson(incoming));
        return { status: 202, operation: `/1.0/operations/${operation.id}`, metadata: show(operation) };
      }
    }
    if (collection === 'cluster') throw failed('Server is not clustered');
    if (collection === 'operations' && name !== '') {
      if (current?.id !== name) throw notFound('Operation');
      if (verb === 'wait' && current.status === 'Running') await new Promise<void>((resolve) => waiting.add(resolve));
      return sync(show(current));
    }
    const body = ['POST', 'PUT', 'PATCH'].includes(method) ? await readJson(incoming) : null;
    if (collection === '') {
      if (method === 'GET') return sync(await describeServer(deps));
      if (method !== 'PUT' && method !== 'PATCH') throw notFound('Page');
    }
    const query = { recursion: Number(url.searchParams.get('recursion') ?? 0) > 0 };
    const { result, preseed, location } = changeStaged(deps.read(), { method, collection, name, body, ...query });
    if (preseed !== null) deps.write(preseed);
    return { status: location === null ? 200 : 201, metadata: result, ...(location === null ? {} : { location }) };
  }

  const create = () => {
    const server = createServer((incoming, outgoing) => {
      answer(incoming).then(
        (reply) => send(outgoing, reply),
        (error: unknown) => sendError(deps, outgoing, error),
      );
    });
    server.requestTimeout = 0;
    server.on('upgrade', (incoming, socket, head) => {
      if (!incoming.url?.startsWith('/1.0/events')) return socket.destroy();
      sockets.handleUpgrade(incoming, socket, head, (client) => client.on('error', () => client.terminate()));
    });
    return server;
  };
  return { create, joined, isBusy: () => current?.status === 'Running' || current?.status === 'Success' };
}

interface Reply {
  status: number;
  metadata: unknown;
  operation?: string;
  location?: string;
}

const sync = (metadata: unknown): Reply => ({ status: 200, metadata });

function send(outgoing: ServerResponse, { status, metadata, operation, location }: Reply): void {
  const asynchronous = operation !== undefined;
  const body = JSON.stringify({
    type: asynchronous ? 'async' : 'sync',
    status: asynchronous ? 'Operation created' : 'Success',
    status_code: asynchronous ? 100 : 200,
    operation: operation ?? '',
    error_code: 0,
    error: '',
    metadata,
  });
  const etag = createHash('sha256')
    .update(JSON.stringify(metadata) ?? '')
    .digest('hex');
  const where = operation ?? location;
  const headers = {
    'content-type': 'application/json',
    etag: `"${etag}"`,
    ...(where === undefined ? {} : { location: where }),
  };
  outgoing.writeHead(status, headers).end(body);
}

function sendError(deps: Pick<UnjoinedDeps, 'log'>, outgoing: ServerResponse, error: unknown): void {
  const known = error instanceof z.ZodError ? badRequest('The request is not of the expected form') : error;
  if (!(known instanceof AppError)) deps.log.error('unjoined.request.failed', { err: error });
  const [status, message] = known instanceof AppError ? [known.status, known.message] : [500, 'Internal error'];
  const body = {
    type: 'error',
    status: '',
    status_code: 0,
    operation: '',
    error_code: status,
    error: message,
    metadata: null,
  };
  outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** A request is a resource's configuration; anything larger is none. */
const BODY_LIMIT_BYTES = 1024 * 1024;

async function readJson(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    const piece = Buffer.from(chunk);
    size += piece.length;
    if (size > BODY_LIMIT_BYTES) throw new AppError('too_large', 'The request is too large');
    chunks.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8') || 'null');
  } catch (cause) {
    throw badRequest('The request is not JSON', cause);
  }
}

async function describeServer(deps: UnjoinedDeps) {
  const host = await deps.readResources();
  const { config } = deps.read();
  const hidden = config['core.trust_password'] ? { 'core.trust_password': 'true' } : {};
  return {
    api_extensions: EXTENSIONS,
    api_status: 'stable',
    api_version: '1.0',
    auth: 'trusted',
    public: false,
    auth_methods: ['tls'],
    config: { ...config, ...hidden },
    environment: {
      addresses: [],
      architectures: [host.architecture],
      certificate: '',
      certificate_fingerprint: '',
      driver: 'lxc',
      driver_version: host.lxcVersion,
      firewall: 'nftables',
      kernel: host.kernel,
      kernel_architecture: host.architecture,
      kernel_features: {},
      kernel_version: host.kernelVersion,
      lxc_features: {},
      os_name: host.osName,
      os_version: host.osVersion,
      project: 'default',
      server: 'lxd',
      server_clustered: false,
      server_event_mode: 'full-mesh',
      server_name: deps.hostname,
      server_pid: process.pid,
      server_version: '5.0.2',
      storage: host.storageDrivers.map(({ name }) => name).join(' | '),
      storage_version: host.storageDrivers.map(({ version }) => version).join(' | '),
      storage_supported_drivers: host.storageDrivers.map(({ name, version }) => ({
        Name: name,
        Version: version,
        Remote: false,
      })),
      longshore_version: AGENT_VERSION,
    },
  };
}
