/**
 * The LXD API on unix sockets of the host: every request goes to the control plane with the agent's session, so that stock
 * clients work here with nothing to set up. While the control plane is away the host answers for itself (`alone/`). Whoever
 * may open the socket is an administrator.
 */
import { chmod, chown, mkdir, readFile, rm } from 'node:fs/promises';
import {
  createServer,
  type IncomingMessage,
  type RequestOptions,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { failed } from '#protocol/errors.ts';
import { ServerAgent, type Trust } from '../link/dial.ts';
import type { Session } from '../link/link.ts';
import type { Log } from '../log.ts';
import type { Alone } from './alone/index.ts';
import { endToEnd, outgoingHeaders } from './forward.ts';
import type { Reach } from './reach.ts';

/** The control plane's runtime closes idle connections after 5 s; ours go first. */
const POOL_IDLE_MS = 4_000;

export interface LocalDeps {
  log: Log;
  trust: Trust;
  reach: Pick<Reach, 'session' | 'onAlone'>;
  alone: Pick<Alone, 'owns' | 'handle' | 'upgrade'>;
}

export interface LocalServer {
  close(): Promise<void>;
}

/** Listens on every path, mode 0660. A path that another live server uses is an error; a stale one is replaced. */
export const startLocalServer = (deps: LocalDeps, paths: readonly string[], group: string): Promise<LocalServer> =>
  serveOn(() => createApi(deps), paths, group);

/** One server of `create` on each path; as `startLocalServer`. */
export async function serveOn(create: () => Server, paths: readonly string[], group: string): Promise<LocalServer> {
  const gid = await findGroup(group);
  const servers: Server[] = [];
  const close = async () => {
    await Promise.all(servers.map(closeServer));
    await Promise.all(paths.slice(0, servers.length).map((path) => rm(path, { force: true })));
  };
  try {
    for (const path of paths) {
      const server = create();
      await listen(server, path);
      servers.push(server);
      if (gid !== null) await chown(path, 0, gid);
      await chmod(path, 0o660);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

function createApi(deps: LocalDeps): Server {
  const pools = new Map<string, ServerAgent>();
  const poolOf = ({ address }: Session) => {
    const known = pools.get(address.authority);
    const pool = known ?? new ServerAgent(address, deps.trust, { keepAlive: true, timeout: POOL_IDLE_MS });
    pools.set(address.authority, pool);
    return pool;
  };
  const optionsOf = (session: Session, incoming: IncomingMessage): RequestOptions => ({
    agent: poolOf(session),
    host: session.address.host,
    port: session.address.port,
    method: incoming.method ?? 'GET',
    path: incoming.url ?? '/',
    headers: {
      ...outgoingHeaders(incoming.headers, { authority: session.address.authority, token: session.token }),
      // Node chunks only the methods that usually have a body; LXD clients send one with others too.
      ...(incoming.headers['transfer-encoding'] === undefined ? {} : { 'transfer-encoding': 'chunked' }),
    },
  });

  const server = createServer((incoming, outgoing) => {
    if (deps.alone.owns(incoming)) return deps.alone.handle(incoming, outgoing);
    deps.reach.session().then(
      (session) => forward(deps, optionsOf, session, incoming, outgoing),
      () => deps.alone.handle(incoming, outgoing),
    );
  });
  // An operation's wait and a file of gigabytes take as long as they take.
  server.requestTimeout = 0;
  server.on('upgrade', (incoming, client, head) => {
    client.on('error', () => client.destroy());
    const answerHere = () => deps.alone.upgrade(incoming, client, head);
    if (deps.alone.owns(incoming)) return answerHere();
    deps.reach.session().then(
      (session) =>
        splice(deps, optionsOf(session, incoming), incoming, client, head, () => {
          // The link notices a moment after the first request that fails.
          deps.reach.session().then(() => client.end(rawUnavailable()), answerHere);
        }),
      answerHere,
    );
  });
  server.on('close', () => {
    for (const pool of pools.values()) pool.destroy();
  });
  return server;
}

/**
 * Nothing is sent twice: a request that never reached the control plane is tried once more or answered here, one that may
 * have been is answered here only when it asks and changes nothing.
 */
function forward(
  deps: LocalDeps,
  optionsOf: (session: Session, incoming: IncomingMessage) => RequestOptions,
  session: Session,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): void {
  const hasBody =
    incoming.headers['transfer-encoding'] !== undefined || Number(incoming.headers['content-length'] ?? 0) > 0;
  const onlyAsks = !hasBody && incoming.method === 'GET';
  const attempt = (current: Session, mayRepeat: boolean) => {
    let isConnected = false;
    let isAlone = false;
    const upstream = request(optionsOf(current, incoming), (response) => {
      forgetAlone();
      outgoing.writeHead(response.statusCode ?? 502, endToEnd(response.headers));
      // Headers at once: event streams and waits have no body for a long time.
      outgoing.flushHeaders();
      pipeline(response, outgoing).catch((err) => deps.log.debug('local.answer.broken', { err }));
    });
    // A control plane that went silently leaves requests without an answer for many minutes.
    const forgetAlone = deps.reach.onAlone(() => {
      isAlone = true;
      upstream.destroy(new Error('The host is on its own'));
    });
    upstream.on('error', (err) => {
      forgetAlone();
      if (outgoing.headersSent || outgoing.destroyed) return void outgoing.destroy();
      const wasClosedUnderUs = upstream.reusedSocket && onlyAsks && !isAlone;
      const mayAnswer = !isConnected || onlyAsks;
      deps.log.warn('local.forward.failed', { err });
      if (!mayAnswer) return sendUnavailable(outgoing);
      if (wasClosedUnderUs && mayRepeat) return attempt(current, false);
      // The link notices a moment after the first request that fails.
      deps.reach.session().then(
        (next) => (mayRepeat ? attempt(next, false) : sendUnavailable(outgoing)),
        () => deps.alone.handle(incoming, outgoing),
      );
    });
    outgoing.on('close', () => {
      forgetAlone();
      upstream.destroy();
    });
    upstream.once('socket', () => {
      isConnected = true;
      if (hasBody) incoming.pipe(upstream);
    });
    if (!hasBody) upstream.end();
  };
  attempt(session, true);
}

/** Websockets and other upgrades: after the 101 both ends are joined byte for byte. */
function splice(
  deps: LocalDeps,
  options: RequestOptions,
  incoming: IncomingMessage,
  client: Duplex,
  head: Buffer,
  onUnreachable: () => void,
): void {
  const headers = { ...options.headers, connection: 'Upgrade', upgrade: incoming.headers.upgrade ?? '' };
  const upstream = request({ ...options, headers });
  const refuse = () => client.end(rawUnavailable());
  const forgetAlone = deps.reach.onAlone(() => upstream.destroy(new Error('The host is on its own')));
  upstream.on('close', forgetAlone);
  upstream.on('error', () => {
    forgetAlone();
    onUnreachable();
  });
  client.on('close', () => upstream.destroy());
  upstream.on('response', (response) => {
    forgetAlone();
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('error', refuse);
    response.on('end', () => {
      const body = Buffer.concat(chunks);
      const kept = { ...endToEnd(response.headers), 'content-length': String(body.length), connection: 'close' };
      client.end(Buffer.concat([rawHead(response, kept), body]));
    });
  });
  upstream.on('upgrade', (response, socket: Socket, first) => {
    forgetAlone();
    client.write(rawHead(response, response.headers));
    if (first.length > 0) client.write(first);
    if (head.length > 0) socket.write(head);
    socket.setNoDelay(true);
    socket.setTimeout(0);
    const end = () => {
      socket.destroy();
      client.destroy();
    };
    socket.on('error', end);
    socket.on('close', end);
    client.on('close', end);
    socket.pipe(client);
    client.pipe(socket);
  });
  upstream.end();
}

function rawHead(response: IncomingMessage, headers: Record<string, unknown>): Buffer {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => `${name}: ${one}`),
  );
  return Buffer.from(`HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\n${lines.join('\r\n')}\r\n\r\n`);
}

const UNAVAILABLE = JSON.stringify({
  type: 'error',
  status: '',
  status_code: 0,
  operation: '',
  error_code: 503,
  error: 'The control plane cannot be reached from this host',
  metadata: null,
});
const UNAVAILABLE_HEADERS = {
  'content-type': 'application/json',
  'content-length': String(Buffer.byteLength(UNAVAILABLE)),
  'retry-after': '3',
};

function sendUnavailable(outgoing: ServerResponse): void {
  outgoing.writeHead(503, UNAVAILABLE_HEADERS).end(UNAVAILABLE);
}

function rawUnavailable(): string {
  const headers = Object.entries({ ...UNAVAILABLE_HEADERS, connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return `HTTP/1.1 503 Service Unavailable\r\n${headers.join('\r\n')}\r\n\r\n${UNAVAILABLE}`;
}

async function listen(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  if (await isAnswered(path)) throw failed(`Another server listens on ${path}`);
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const settle = (answer: boolean) => {
      probe.destroy();
      resolve(answer);
    };
    probe.once('connect', () => settle(true));
    probe.once('error', () => settle(false));
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

async function findGroup(name: string): Promise<number | null> {
  const groups = await readFile('/etc/group', 'utf8').catch(() => '');
  const gid = groups
    .split('\n')
    .map((line) => line.split(':'))
    .find(([group]) => group === name)?.[2];
  return gid === undefined ? null : Number(gid);
}
