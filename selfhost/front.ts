/**
 * The TLS front: asks each client for a certificate and tells the worker which one it has, over the worker's private socket.
 *
 * Invariants: the header that carries the certificate is never taken from a client; a client's bytes reach the worker only as
 * requests that were parsed and written anew here, until the worker itself has agreed to a websocket. No list of CAs is
 * advertised: `lxc` 5.0 answers any such list with no certificate at all.
 */
import { constants } from 'node:crypto';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { type Duplex, pipeline } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { describeClient } from './client-certificate.ts';
import { gatherInto } from './gather.ts';
import { passingHeaders, renderHead } from './headers.ts';
import type { Endpoint } from './port.ts';
import { carryRaw, RAW_PROTOCOL } from './raw-upgrade.ts';
import { connectUpstream } from './upstream-socket.ts';

export interface FrontOptions {
  certificate: string;
  key: string;
  listen: readonly Endpoint[];
  /** The worker's unix socket. */
  upstream: string;
  /** Lower-case name of the header that becomes `request.cf`. */
  blobHeader: string;
}

export interface Front {
  /** Where it really listens: of use when port 0 was asked for. */
  endpoints: Endpoint[];
  /** Stops at once; open connections are cut. */
  close(): Promise<void>;
}

/** workerd closes idle connections after 5.0 s: let go of them first. */
const POOL_IDLE_MS = 4_000;

/** Bytes in flight per direction and connection: enough for full speed, little enough for thousands of agents. */
const WINDOW_BYTES = 256 * 1024;

const KEPT: http.AgentOptions = { keepAlive: true, timeout: POOL_IDLE_MS, maxFreeSockets: 64 };

interface Upstream {
  /** Where the worker listens. */
  socket: string;
  agent: http.Agent;
  blobHeader: string;
  blobs: WeakMap<TLSSocket, string>;
  /** Connections that are no HTTP any more: the server forgets them, and yet waits for them when it closes. */
  upgraded: Set<Duplex>;
}

/** Listens on every address or on none: throws the first failure, with `code` EADDRINUSE when a port is taken. */
export async function startFront(options: FrontOptions): Promise<Front> {
  const upstream: Upstream = {
    socket: options.upstream,
    agent: createPool(options.upstream),
    blobHeader: options.blobHeader,
    blobs: new WeakMap(),
    upgraded: new Set(),
  };
  const servers: https.Server[] = [];
  const close = async () => {
    const closed = Promise.all(servers.map((server) => closeServer(server)));
    for (const socket of upstream.upgraded) socket.destroy();
    await closed;
    upstream.agent.destroy();
  };
  try {
    for (const endpoint of options.listen) {
      const server = createServer(options, upstream);
      servers.push(server);
      await listen(server, endpoint);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { endpoints: servers.map(endpointOf), close };
}

function createPool(path: string, options: http.AgentOptions = KEPT): http.Agent {
  const pool = new http.Agent(options);
  return Object.assign(pool, { createConnection: () => connectUpstream(path) });
}

function createServer(options: FrontOptions, upstream: Upstream): https.Server {
  const server = https.createServer({
    cert: options.certificate,
    key: options.key,
    minVersion: 'TLSv1.3',
    // Neither `lxc` nor our agent resumes a session, and OpenSSL reads the client's certificate anew for every ticket it makes.
    secureOptions: constants.SSL_OP_NO_TICKET,
    requestCert: true,
    rejectUnauthorized: false,
    highWaterMark: WINDOW_BYTES,
    // A `…/wait` may take an hour, an upload as long as it needs.
    requestTimeout: 0,
    keepAliveTimeout: 75_000,
    noDelay: true,
  });
  server.on('request', (request, response) => forward(upstream, request, response, true));
  server.on('clientError', (error, socket) => {
    const tooLarge = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW';
    refuseConnection(socket, tooLarge ? 431 : 400);
  });
  server.on('upgrade', (request, socket, head) => {
    // Whose end would be anybody's guess: the worker would take what comes next on its connection for the rest of it.
    if (hasBody(request)) return refuseConnection(socket, 400);
    upstream.upgraded.add(socket);
    socket.once('close', () => upstream.upgraded.delete(socket));
    if (request.headers.upgrade?.toLowerCase() !== RAW_PROTOCOL) return forwardUpgrade(upstream, request, socket, head);
    const headers = [
      ...passingHeaders(request.rawHeaders, upstream.blobHeader),
      ...[upstream.blobHeader, blobOf(upstream, request.socket)],
    ];
    carryRaw({ path: request.url ?? '/', headers, connect: () => connectUpstream(options.upstream) }, socket, head);
  });
  return server;
}

/** The header for the client behind `socket`: worked out once per connection. */
function blobOf(upstream: Upstream, socket: Duplex): string {
  if (!(socket instanceof TLSSocket)) throw new TypeError('The front serves TLS connections only');
  const known = upstream.blobs.get(socket);
  if (known !== undefined) return known;
  const blob = JSON.stringify(describeClient(socket));
  upstream.blobs.set(socket, blob);
  return blob;
}

function openUpstream(
  upstream: Upstream,
  request: IncomingMessage,
  { extra, agent }: { extra: string[]; agent: http.Agent },
): http.ClientRequest {
  return http.request({
    agent,
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    setHost: false,
    headers: [
      ...passingHeaders(request.rawHeaders, upstream.blobHeader),
      ...[upstream.blobHeader, blobOf(upstream, request.socket)],
      ...extra,
    ],
  });
}

function forward(upstream: Upstream, request: IncomingMessage, response: ServerResponse, mayRetry: boolean): void {
  const extra = isChunked(request) ? ['transfer-encoding', 'chunked'] : [];
  const out = openUpstream(upstream, request, { extra, agent: upstream.agent });
  const giveUp = () => out.destroy();
  response.once('close', giveUp);
  out.once('response', (answer) => {
    // A refusal may come before the upload has ended: let the client finish it, into nothing.
    out.on('error', () => drain(request));
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', passingHeaders(answer.rawHeaders));
    // Head and first bytes leave together when they came together; a stream's head does not wait for its first byte.
    setImmediate(() => response.flushHeaders());
    pipeline(answer, gatherInto(response), () => drain(request));
  });
  out.once('error', (error) => {
    if (response.headersSent || response.destroyed) return;
    // A pooled connection that the worker was just closing: nothing was done with a request on it.
    if (mayRetry && out.reusedSocket && !hasBody(request)) {
      response.off('close', giveUp);
      forward(upstream, request, response, false);
      return;
    }
    drain(request);
    answerUnavailable(response, error);
  });
  if (hasBody(request)) request.pipe(gatherInto(out));
  else out.end();
}

const isChunked = (request: IncomingMessage) => request.headers['transfer-encoding'] !== undefined;
const hasBody = (request: IncomingMessage) => isChunked(request) || Number(request.headers['content-length'] ?? 0) > 0;

/** LXD's error envelope. */
const errorBody = (code: number, error: string): string =>
  `${JSON.stringify({ type: 'error', error, error_code: code, metadata: null })}\n`;

/** For what cannot be read as a request: an error, and the end of the connection. */
function refuseConnection(socket: Duplex, status: 400 | 431): void {
  if (!socket.writable) return void socket.destroy();
  const error = status === 431 ? 'The headers of the request are too large' : 'The request cannot be read';
  const body = errorBody(status, error);
  const headers = ['content-type', 'application/json', 'content-length', String(body.length), 'connection', 'close'];
  socket.on('error', () => socket.destroy());
  socket.end(renderHead(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}`, headers) + body);
}

function drain(request: IncomingMessage): void {
  request.unpipe();
  request.resume();
}

/** The worker is away (starting again), not gone. */
function answerUnavailable(response: ServerResponse, cause: Error): void {
  console.error(`front: the worker does not answer: ${cause.message}`);
  response.writeHead(503, { 'content-type': 'application/json', 'retry-after': '1' });
  response.end(errorBody(503, 'The control plane is starting, try again'));
}

/** Joins the two connections once the worker has answered 101; any other answer is passed on and ends the connection. */
function forwardUpgrade(upstream: Upstream, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const extra = ['connection', 'Upgrade', 'upgrade', request.headers.upgrade ?? 'websocket'];
  socket.on('error', () => socket.destroy());
  // A connection of its own, that nobody else's request can follow on.
  const agent = createPool(upstream.socket, { keepAlive: false });
  const out = openUpstream(upstream, request, { extra, agent });
  socket.once('close', () => out.destroy());
  out.once('upgrade', (answer, remote, first: Buffer) => {
    const headers = [...passingHeaders(answer.rawHeaders), 'connection', 'Upgrade', 'upgrade', 'websocket'];
    socket.write(renderHead('HTTP/1.1 101 Switching Protocols', headers));
    if (first.length > 0) socket.write(first);
    if (head.length > 0) remote.write(head);
    socket.once('close', () => remote.destroy());
    remote.once('close', () => socket.destroy());
    remote.on('error', () => remote.destroy());
    socket.pipe(remote).pipe(socket);
  });
  out.once('response', (answer) => {
    const headers = [...passingHeaders(answer.rawHeaders), 'connection', 'close'];
    socket.write(renderHead(`HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ''}`, headers));
    pipeline(answer, socket, () => socket.destroy());
  });
  out.once('error', () => socket.destroy());
  out.end();
}

function listen(server: https.Server, endpoint: Endpoint): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(endpoint.port, endpoint.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function endpointOf(server: https.Server): Endpoint {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('The front does not listen on TCP');
  return { host: address.address, port: address.port };
}

async function closeServer(server: https.Server): Promise<void> {
  if (!server.listening) return;
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeAllConnections();
  await closed;
}
