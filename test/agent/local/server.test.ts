import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { parseServerAddress } from '#agent/link/address.ts';
import { type LocalServer, startLocalServer } from '#agent/local/server.ts';
import { silentLog } from '#agent/log.ts';
import { unavailable } from '#protocol/errors.ts';
import { eventually } from '#test/eventually.ts';
import { type FakeControlPlane, startControlPlane } from '../fakes/control-plane.ts';

let directory: string;
let socketPath: string;
let plane: FakeControlPlane;
let local: LocalServer;
let up: boolean;
let alone: Set<() => void>;
/** How the host answers for itself. */
const itself = {
  owns: (incoming: IncomingMessage) => incoming.url?.startsWith('/1.0/operations/mine') === true,
  handle: (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => outgoing.writeHead(200).end(`alone ${incoming.method} ${Buffer.concat(chunks)}`));
  },
  upgrade: (_incoming: IncomingMessage, client: Duplex) => {
    client.end('HTTP/1.1 404 Alone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  },
};
/** What the control plane saw of the last request. */
let seen: { method: string; url: string; headers: IncomingHttpHeaders; body: string };

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-local-'));
  socketPath = join(directory, 'unix.socket');
  up = true;
  alone = new Set();
  plane = await startControlPlane();
  plane.server.on('request', (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      seen = {
        method: incoming.method ?? '',
        url: incoming.url ?? '',
        headers: incoming.headers,
        body: Buffer.concat(chunks).toString(),
      };
      outgoing.writeHead(202, { etag: '"x"', connection: 'keep-alive', 'content-type': 'application/json' });
      outgoing.end('{"type":"async"}');
    });
  });
  local = await startLocalServer(
    {
      log: silentLog,
      trust: { fingerprint: null },
      reach: {
        session: () =>
          up
            ? Promise.resolve({ address: parseServerAddress(plane.address), token: 'session-token' })
            : Promise.reject(unavailable('down')),
        onAlone: (listener) => {
          alone.add(listener);
          return () => alone.delete(listener);
        },
      },
      alone: itself,
    },
    [socketPath],
    'no-such-group',
  );
});
afterEach(async () => {
  await local.close();
  await plane.close();
  rmSync(directory, { recursive: true });
});

function call(method: string, path: string, headers: Record<string, string> = {}, body?: string[]) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; text: string }>((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.on('error', reject);
    for (const chunk of body ?? []) outgoing.write(chunk);
    outgoing.end();
  });
}

it('is for the owner and the group only', () => {
  expect(statSync(socketPath).mode & 0o777).toBe(0o660);
});

describe('a request', () => {
  it('goes to the control plane with the session in place of what the client claims', async () => {
    const answer = await call('GET', '/1.0/instances?recursion=2', {
      authorization: 'Bearer mine',
      'X-Longshore-Local-User': 'somebody',
      'x-longshore-member': 'other',
      'if-match': '"e"',
      connection: 'x-private',
      'x-private': '1',
    });
    expect(answer).toMatchObject({ status: 202, text: '{"type":"async"}' });
    expect(answer.headers.etag).toBe('"x"');
    expect(seen.url).toBe('/1.0/instances?recursion=2');
    expect(seen.headers).toMatchObject({
      authorization: 'Bearer session-token',
      'x-longshore-local-user': 'root',
      'if-match': '"e"',
      host: new URL(plane.address).host,
    });
    expect(seen.headers).not.toHaveProperty('x-longshore-member');
    expect(seen.headers).not.toHaveProperty('x-private');
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'GET'])('%s keeps a body, with a length or in chunks', async (method) => {
    await call(method, '/1.0/x', { 'content-length': '7' }, ['{"a":', '1}']);
    expect(seen).toMatchObject({ method, body: '{"a":1}' });
    await call(method, '/1.0/x', { 'transfer-encoding': 'chunked' }, ['{"b":', '2}']);
    expect(seen).toMatchObject({ method, body: '{"b":2}' });
  });

  it('is answered by the host itself while the control plane is away, with its body', async () => {
    up = false;
    expect(await call('GET', '/1.0')).toMatchObject({ status: 200, text: 'alone GET ' });
    const put = await call('PUT', '/1.0/x', { 'transfer-encoding': 'chunked' }, ['{"b":', '2}']);
    expect(put.text).toBe('alone PUT {"b":2}');
  });

  it('about what the host began itself is answered by it, link or not', async () => {
    expect(await call('GET', '/1.0/operations/mine/wait')).toMatchObject({ text: 'alone GET ' });
  });

  it('that never reached the control plane is answered by the host once it knows that it is alone', async () => {
    await plane.close();
    up = true;
    const asked = call('POST', '/1.0/x', { 'content-length': '2' }, ['{}']);
    up = false;
    expect((await asked).text).toBe('alone POST {}');
    plane = await startControlPlane();
  });

  it('that gets no answer is answered by the host when it comes to be alone, if it only asks', async () => {
    let silent = 0;
    plane.server.removeAllListeners('request');
    plane.server.on('request', () => {
      silent += 1;
    });
    const asked = call('GET', '/1.0/instances');
    const changed = call('PUT', '/1.0/instances/c1/state', { 'content-length': '2' }, ['{}']);
    await eventually(() => expect(silent).toBe(2));
    up = false;
    for (const listener of [...alone]) listener();
    expect(await asked).toMatchObject({ status: 200, text: 'alone GET ' });
    expect(await changed).toMatchObject({ status: 503 });
    expect(alone.size).toBe(0);
  });

  it('is answered with LXD’s 503 when the control plane cannot be reached', async () => {
    await plane.close();
    expect((await call('GET', '/1.0')).status).toBe(503);
    plane = await startControlPlane();
  });
});

describe('a websocket', () => {
  it('is joined byte for byte, both ways', async () => {
    const socket = new WebSocket(`ws+unix://${socketPath}:/1.0/events?type=operation`);
    await new Promise((resolve) => socket.once('open', resolve));
    const [peer] = plane.peers;
    expect(peer?.request.url).toBe('/1.0/events?type=operation');
    expect(peer?.request.headers.authorization).toBe('Bearer session-token');
    const echoed = new Promise((resolve) => socket.once('message', (data) => resolve(data.toString())));
    peer?.socket.once('message', (data) => peer.socket.send(`you said ${data}`));
    socket.send('"hello"');
    expect(await echoed).toBe('you said "hello"');
    const closed = new Promise((resolve) => peer?.socket.once('close', resolve));
    socket.terminate();
    await closed;
  });

  it('gets the refusal of the control plane', async () => {
    plane.server.removeAllListeners('upgrade');
    plane.server.on('upgrade', (_request, socket) => {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno');
    });
    const socket = new WebSocket(`ws+unix://${socketPath}:/1.0/events`);
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
    expect(error.message).toContain('403');
  });

  it('is served by the host itself while the control plane is away', async () => {
    up = false;
    const socket = new WebSocket(`ws+unix://${socketPath}:/1.0/events`);
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve));
    expect(error.message).toContain('404');
  });
});

it('does not take the socket of another server that lives', async () => {
  const reach = { session: () => Promise.reject(unavailable('down')), onAlone: () => () => {} };
  const deps = { log: silentLog, trust: { fingerprint: null }, reach, alone: itself };
  await expect(startLocalServer(deps, [socketPath], 'x')).rejects.toThrow('Another server');
  await expect(call('GET', '/1.0')).resolves.toMatchObject({ status: 202 });
});
