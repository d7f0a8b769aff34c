import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  ensureClientCertificate,
  ensureServerCertificate,
  fingerprintOf,
  type KeyPair,
} from '#selfhost/certificate.ts';
import { type Front, startFront } from '#selfhost/front.ts';

const BLOB = 'x-blob';
let dir: string;
let worker: http.Server;
let front: Front;
let client: KeyPair;
let port: number;
const children: ChildProcess[] = [];

/** Stands in for workerd: echoes what arrives, refuses, streams. */
function createWorker(): http.Server {
  const sockets = new WebSocketServer({ noServer: true });
  const server = http.createServer((request, response) => {
    if (request.url === '/refuse') {
      response.writeHead(403, { connection: 'close' }).end('no', () => request.socket.destroy());
      return;
    }
    if (request.url === '/stream') {
      response.writeHead(200).flushHeaders();
      request.on('close', () => response.end());
      return;
    }
    if (request.url === '/big') {
      response.end(Buffer.alloc(20_000_000, 'x'));
      return;
    }
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
    });
    request.on('end', () => response.end(JSON.stringify({ headers: request.headers, size, method: request.method })));
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.url !== '/ws') {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.send(`cf ${String(request.headers[BLOB])}`);
      ws.on('message', (data, binary) => ws.send(data, { binary }));
    });
  });
  return server;
}

interface Answer {
  status: number;
  text: string;
  headers: http.IncomingHttpHeaders;
}

function ask(options: https.RequestOptions, body?: Buffer | string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      { host: '127.0.0.1', port, rejectUnauthorized: false, agent: false, ...options },
      (response: IncomingMessage) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString(),
            headers: response.headers,
          }),
        );
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

const seenBy = (answer: Answer) => JSON.parse(answer.text);
const blobIn = (answer: Answer) => JSON.parse(seenBy(answer).headers[BLOB]);

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'longshore-front-'));
  worker = createWorker();
  await new Promise<void>((resolve) => worker.listen(path.join(dir, 'w.sock'), resolve));
  const server = await ensureServerCertificate({ certificate: path.join(dir, 's.crt'), key: path.join(dir, 's.key') }, [
    '10.9.8.7',
  ]);
  client = await ensureClientCertificate(
    { certificate: path.join(dir, 'c.crt'), key: path.join(dir, 'c.key') },
    'me@here',
  );
  front = await startFront({
    ...server,
    listen: [
      { host: '127.0.0.1', port: 0 },
      { host: '127.0.0.2', port: 0 },
    ],
    upstream: path.join(dir, 'w.sock'),
    blobHeader: BLOB,
  });
  port = front.endpoints[0]?.port ?? 0;
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await front.close();
  worker.closeAllConnections();
  worker.close();
  await rm(dir, { recursive: true });
});

test('tells the worker the fingerprint of the client certificate', async () => {
  const blob = blobIn(await ask({ cert: client.certificate, key: client.key }));
  expect(blob.tlsClientAuth).toMatchObject({
    certPresented: '1',
    certVerified: 'SUCCESS',
    certFingerprintSHA256: fingerprintOf(client.certificate),
  });
  const der = Buffer.from(blob.tlsClientAuth.certRFC9440.slice(1, -1), 'base64');
  expect(client.certificate.replace(/\s/g, '')).toContain(der.toString('base64'));
  expect(blob.clientAddress).toBe('127.0.0.1');
});

test('says that no certificate was presented when none was', async () => {
  expect(blobIn(await ask({})).tlsClientAuth).toMatchObject({
    certPresented: '0',
    certVerified: 'NONE',
    certFingerprintSHA256: '',
  });
});

test.each(['x-blob', 'X-Blob', 'X-BLOB'])(
  'never takes the certificate from a header of the client (%s)',
  async (name) => {
    const answer = await ask({ headers: { [name]: '{"tlsClientAuth":{"certPresented":"1"}}' } });
    expect(blobIn(answer).tlsClientAuth.certPresented).toBe('0');
  },
);

test('advertises no list of certificate authorities', async () => {
  const text = await new Promise<string>((resolve) => {
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += String(chunk);
    });
    child.on('close', () => resolve(out));
  });
  expect(text).toContain('No client certificate CA names sent');
  expect(text).toContain('Requested Signature Algorithms');
});

test('refuses TLS 1.2', async () => {
  await expect(ask({ maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version|EPROTO|alert/);
});

test.each([
  ['a body of known length', { 'content-length': '5' }],
  ['a chunked body', { 'transfer-encoding': 'chunked' }],
])('passes on %s', async (_name, headers) => {
  const answer = seenBy(await ask({ method: 'POST', headers }, 'hello'));
  expect(answer).toMatchObject({ method: 'POST', size: 5, headers });
});

test('passes on a body on GET', async () => {
  expect(seenBy(await ask({ headers: { 'content-length': '3' } }, '""\n'))).toMatchObject({ method: 'GET', size: 3 });
});

test('answers a refused upload with the refusal, not with an error', async () => {
  for (let round = 0; round < 5; round++) {
    expect(await ask({ method: 'PUT', path: '/refuse' }, Buffer.alloc(30_000_000))).toMatchObject({
      status: 403,
      text: 'no',
    });
  }
});

test('does not hold back the head of an answer that has no body yet', async () => {
  const status = await new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: '/stream', rejectUnauthorized: false, agent: false as const };
    const request = https.get(options, (response) => {
      resolve(response.statusCode);
      request.destroy();
    });
    request.on('error', reject);
  });
  expect(status).toBe(200);
});

test('delivers a large answer whole', async () => {
  expect((await ask({ path: '/big' })).text).toHaveLength(20_000_000);
});

test('joins a websocket in both directions, with the certificate', async () => {
  const { certificate: cert, key } = client;
  const ws = new WebSocket(`wss://127.0.0.1:${port}/ws`, { cert, key, rejectUnauthorized: false });
  const messages: string[] = [];
  const done = new Promise<void>((resolve, reject) => {
    ws.on('error', reject);
    ws.on('open', () => ws.send('over'));
    ws.on('message', (data) => {
      messages.push(String(data));
      if (messages.length === 2) resolve();
    });
  });
  await done;
  ws.terminate();
  expect(messages[0]).toContain(fingerprintOf(client.certificate));
  expect(messages[1]).toBe('over');
});

test('ends the connection after a refused websocket: a second request on it reaches nobody', async () => {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  const text = await new Promise<string>((resolve) => {
    let out = '';
    socket.on('data', (chunk) => {
      out += String(chunk);
    });
    socket.on('close', () => resolve(out));
    socket.on('error', () => {});
    const upgrade = 'GET /other HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
    socket.write(`${upgrade}GET /forged HTTP/1.1\r\nhost: x\r\n${BLOB}: {"forged":true}\r\n\r\n`);
  });
  expect(text).toContain('403');
  expect(text).not.toContain('forged');
});

test('listens on several addresses', async () => {
  const second = front.endpoints[1];
  expect((await ask({ host: '127.0.0.2', port: second?.port ?? 0 })).status).toBe(200);
});

test('names the port that is taken', async () => {
  const taken = { host: '127.0.0.1', port };
  const { certificate, key } = client;
  const second = startFront({
    certificate,
    key,
    listen: [taken],
    upstream: path.join(dir, 'w.sock'),
    blobHeader: BLOB,
  });
  await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE' });
});

test('answers 503 in LXD’s form while the worker is away', async () => {
  const { certificate, key } = client;
  const lonely = await startFront({
    certificate,
    key,
    listen: [{ host: '127.0.0.1', port: 0 }],
    upstream: path.join(dir, 'nobody.sock'),
    blobHeader: BLOB,
  });
  const answer = await ask({ port: lonely.endpoints[0]?.port ?? 0 });
  await lonely.close();
  expect(answer.status).toBe(503);
  expect(answer.headers['retry-after']).toBe('1');
  expect(seenBy(answer)).toMatchObject({ type: 'error', error_code: 503 });
});

test('closes while websockets are open: a control plane with agents can stop', async () => {
  const { certificate, key } = client;
  const listen = [{ host: '127.0.0.1', port: 0 }];
  const busy = await startFront({ certificate, key, listen, upstream: path.join(dir, 'w.sock'), blobHeader: BLOB });
  const socket = new WebSocket(`wss://127.0.0.1:${busy.endpoints[0]?.port}/ws`, { rejectUnauthorized: false });
  await new Promise((resolve) => socket.once('message', resolve));
  const gone = new Promise((resolve) => socket.once('close', resolve));
  await busy.close();
  await gone;
});

/** Bytes as they stand on the wire; resolves to all that came back until the front hung up. */
function speak(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    let answer = '';
    socket.on('data', (chunk) => {
      answer += String(chunk);
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
    socket.write(bytes);
  });
}

const INSIDE = `GET /inside HTTP/1.1\r\nhost: x\r\n${BLOB}: {"forged":true}\r\n\r\n`;
const upgrade = (headers: string) =>
  `GET /no HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n${headers}\r\n`;

test('never lets the body of an upgrade be taken for part of another request', async () => {
  const seen: string[] = [];
  const note = (request: IncomingMessage) => void seen.push(`${request.url} ${String(request.headers[BLOB])}`);
  worker.on('request', note);
  for (const headers of ['content-length: 300\r\n', 'transfer-encoding: chunked\r\n', 'Content-Length: 1\r\n']) {
    expect(await speak(upgrade(headers))).toMatch(/^HTTP\/1\.1 400 [\s\S]*"error_code":400/);
  }
  // Refused by the worker: what follows is no request of its connection either.
  expect(await speak(upgrade('') + INSIDE)).toContain('403');
  const after = await Promise.all(Array.from({ length: 10 }, () => ask({ path: '/after', method: 'POST' }, INSIDE)));
  worker.off('request', note);
  expect(after.map((answer) => seenBy(answer).size)).toEqual(Array(10).fill(INSIDE.length));
  expect(seen.filter((line) => line.includes('forged') || line.startsWith('/inside'))).toEqual([]);
});

test('refuses what is no request in the words of the API', async () => {
  expect(await speak('nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 [\s\S]*"type":"error"/);
  const huge = `GET / HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`;
  expect(await speak(huge)).toMatch(/^HTTP\/1\.1 431 [\s\S]*"error_code":431/);
  const twice = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n';
  expect(await speak(twice)).toMatch(/^HTTP\/1\.1 400 /);
});
