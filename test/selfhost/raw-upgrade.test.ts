import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { ensureServerCertificate } from '#selfhost/certificate.ts';
import { type Front, startFront } from '#selfhost/front.ts';
import { eventually } from '../eventually.ts';

const BLOB = 'x-blob';
let dir: string;
let worker: http.Server;
let front: Front;
/** What the worker was told, and how its sockets ended. */
const seen: { url: string | undefined; blob: unknown }[] = [];
let open = 0;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-raw-'));
  const sockets = new WebSocketServer({ noServer: true });
  worker = http.createServer((_request, response) => response.end());
  worker.on('upgrade', (request, socket: Socket, head) => {
    seen.push({ url: request.url, blob: request.headers[BLOB] });
    if (request.url?.includes('refused')) {
      socket.end('HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      open += 1;
      ws.on('close', () => {
        open -= 1;
      });
      ws.on('message', (data: Buffer) => (data.toString() === 'leave' ? ws.close() : ws.send(data)));
    });
  });
  const upstream = path.join(dir, 'worker.sock');
  worker.listen(upstream);
  await once(worker, 'listening');
  const pair = { certificate: path.join(dir, 'server.crt'), key: path.join(dir, 'server.key') };
  const listen = [{ host: '127.0.0.1', port: 0 }];
  front = await startFront({ ...(await ensureServerCertificate(pair, [])), listen, upstream, blobHeader: BLOB });
});
afterAll(async () => {
  await front.close();
  worker.close();
  await rm(dir, { recursive: true });
});

/** Asks for SFTP as clients do. Resolves with what has come when that satisfies `until`, which the connection's end does, too. */
async function upgrade(name: string, first: Buffer | string, until: (received: Buffer) => boolean) {
  const socket = tls.connect({ host: '127.0.0.1', port: front.endpoints[0]?.port ?? 0, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  let received = Buffer.alloc(0);
  let isOver = false;
  socket.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data]);
  });
  socket.on('close', () => {
    isOver = true;
  });
  const head = ['GET /1.0/instances/NAME/sftp?project=p HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: sftp'];
  socket.write(`${head.join('\r\n').replace('NAME', name)}\r\n${BLOB}: forged\r\n\r\n`);
  socket.write(first);
  await eventually(() => expect(isOver || until(received)).toBe(true));
  return { socket, received, isOver: () => isOver };
}

const HEAD = 'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: sftp\r\n\r\n';

test('carries every byte both ways, those that come with the request too', async () => {
  const content = randomBytes(1_000_000);
  const { socket, received } = await upgrade('c1', content, (bytes) => bytes.length >= HEAD.length + content.length);
  expect(received.subarray(0, HEAD.length).toString()).toBe(HEAD);
  expect(received.subarray(HEAD.length).equals(content)).toBe(true);
  expect(seen.at(-1)?.url).toBe('/1.0/instances/c1/sftp?project=p');
  socket.destroy();
  await eventually(() => expect(open).toBe(0));
});

test('tells the worker who the client is, and not what the client says of itself', async () => {
  const { socket } = await upgrade('c1', 'x', (bytes) => bytes.length > HEAD.length);
  expect(String(seen.at(-1)?.blob)).toContain('tlsClientAuth');
  expect(seen.at(-1)?.blob).not.toContain('forged');
  socket.destroy();
});

test('ends the connection when the worker does', async () => {
  const { isOver } = await upgrade('c1', 'leave', () => false);
  expect(isOver()).toBe(true);
});

test('passes a refusal on and ends', async () => {
  const { received, isOver } = await upgrade('refused', '', () => false);
  expect(received.toString()).toMatch(/^HTTP\/1.1 404 Not Found\r\n[\s\S]*\{\}$/);
  expect(isOver()).toBe(true);
});
