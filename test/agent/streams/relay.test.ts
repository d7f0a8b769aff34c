import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer, json } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseServerAddress } from '#agent/link/address.ts';
import { createRelayStream } from '#agent/streams/relay.ts';
import { failed } from '#protocol/errors.ts';
import { BLOCK_LIMIT_BYTES, LAST_PART_HEADER, PART_BYTES } from '#protocol/stream.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The Stream object's end, which joins the two sides. */
let server: Server;
let handlers: Record<string, Handler>;
let parts: number[];
let outcomes: unknown[];
let address: string;
beforeEach(async () => {
  parts = [];
  outcomes = [];
  let target: ServerResponse | null = null;
  handlers = {
    'GET peer': (_request, response) => response.writeHead(204).end(),
    'GET content': (_request, response) => {
      target = response.writeHead(200);
      response.flushHeaders();
    },
    'PUT content': async (request, response) => {
      let bytes = 0;
      for await (const chunk of request) {
        bytes += chunk.length;
        if (target?.write(chunk) === false) await new Promise((resolve) => target?.once('drain', resolve));
      }
      parts.push(bytes);
      if (request.headers[LAST_PART_HEADER] !== undefined) target?.end();
      response.writeHead(204).end();
    },
    'POST outcome': async (request, response) => {
      outcomes.push(await json(request));
      response.writeHead(204).end();
    },
  };
  server = createServer((request, response) => {
    const handler = handlers[`${request.method} ${request.url?.split('/').at(-1)}`];
    if (handler === undefined) response.writeHead(404).end();
    else handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const never = new AbortController().signal;
const open = () =>
  createRelayStream(
    { trust: { fingerprint: null }, session: async () => ({ address: parseServerAddress(address), token: 't' }) },
    's',
  );
const refuse =
  (message: string): Handler =>
  (_request, response) =>
    response.writeHead(500).end(JSON.stringify({ error: { code: 'failed', message } }));
const send = (content: Buffer, beforeEnd = () => {}) =>
  open().send(Readable.from(pieces(content)), { signal: never, beforeEnd, onSent: () => {} });

function* pieces(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += 60_000) yield content.subarray(at, at + 60_000);
}

describe('the stream of a moving instance', () => {
  it('carries all of it, in parts that the platform takes', async () => {
    const content = Buffer.alloc(PART_BYTES + 3 * BLOCK_LIMIT_BYTES, randomBytes(4096));
    const received = open().receive(never).then(buffer);
    await open().awaitTarget(never);
    let toldBytes = 0;
    await open().send(Readable.from(pieces(content)), {
      signal: never,
      beforeEnd: () => {
        expect(toldBytes).toBe(content.length);
      },
      onSent: (bytes) => {
        toldBytes += bytes;
      },
    });
    expect((await received).equals(content)).toBe(true);
    expect(parts).toHaveLength(3);
    expect(Math.max(...parts)).toBeLessThanOrEqual(PART_BYTES);
  });

  it('is told apart from one whose sender has gone', async () => {
    handlers['PUT content'] = handlers['PUT content'] ?? (() => {});
    handlers['GET content'] = (_request, response) => response.writeHead(200).end('\0\0\0\x05hel');
    await expect(open().receive(never).then(buffer)).rejects.toMatchObject({ code: 'unavailable' });
    handlers['GET content'] = (_request, response) => {
      response.writeHead(200).write('\0\0\0\x05hel', () => response.destroy());
    };
    await expect(open().receive(never).then(buffer)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('ends with the reason that the control plane tells, on every request', async () => {
    for (const what of ['GET peer', 'GET content', 'PUT content']) handlers[what] = refuse('pool is full');
    const reason = { code: 'failed', message: 'pool is full' };
    await expect(open().awaitTarget(never)).rejects.toMatchObject(reason);
    await expect(open().receive(never)).rejects.toMatchObject(reason);
    await expect(send(Buffer.alloc(1_000_000))).rejects.toMatchObject(reason);
    handlers['POST outcome'] = refuse('pool is full');
    expect(await open().giveUp(failed('broken'))).toMatchObject(reason);
  });

  it('does not come to its end when it was refused', async () => {
    const target = open().receive(never).then(buffer);
    target.catch(() => {});
    handlers['PUT content'] = refuse('no');
    let ended = false;
    await expect(
      send(Buffer.alloc(10), () => {
        ended = true;
      }),
    ).rejects.toMatchObject({ message: 'no' });
    expect(ended).toBe(false);
  });

  it('tells why this side gives up', async () => {
    const error = failed('disk on fire');
    expect(await open().giveUp(error)).toBe(error);
    expect(outcomes).toEqual([{ error: { code: 'failed', message: 'disk on fire' } }]);
  });

  it('ends when the operation is cancelled', async () => {
    const abort = new AbortController();
    handlers['GET peer'] = () => abort.abort();
    await expect(open().awaitTarget(abort.signal)).rejects.toThrow();
    const second = new AbortController();
    const received = open().receive(second.signal).then(buffer);
    setImmediate(() => second.abort());
    await expect(received).rejects.toThrow();
  });
});
