import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, json } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { InstanceRoot } from '#agent/drivers/instance/driver.ts';
import { parseServerAddress } from '#agent/link/address.ts';
import { createPool, type Pool } from '#agent/link/pool.ts';
import { createContentStream } from '#agent/streams/content.ts';
import { openTransfer } from '#agent/streams/files.ts';
import type { QueryParams } from '#protocol/queries.ts';
import { FILE_HEAD_HEADER, PART_BYTES } from '#protocol/stream.ts';
import { eventually } from '#test/eventually.ts';

type Put = NonNullable<QueryParams<'file.open'>['put']>;
type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The Stream object's end: what a test answers to the agent's requests, and what came. */
let server: Server;
let pool: Pool;
let handlers: Record<string, Handler>;
let outcomes: unknown[];
let requests: IncomingMessage[];
let address: string;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'longshore-files-'));
  outcomes = [];
  requests = [];
  handlers = {
    'POST /agent/stream/s/outcome': async (request, response) => {
      outcomes.push(await json(request));
      response.writeHead(204).end();
    },
  };
  server = createServer((request, response) => {
    requests.push(request);
    const handler = handlers[`${request.method} ${request.url}`];
    if (handler === undefined) response.writeHead(404).end();
    else handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  pool = createPool({ fingerprint: null }, 1_000);
});
afterEach(async () => {
  pool.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});

function openRoot(): InstanceRoot {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const same = (id: number) => id;
  return { fd, toHostUid: same, toHostGid: same, fromHostUid: same, fromHostGid: same, close: () => closeSync(fd) };
}

const stream = () =>
  createContentStream(
    { pool, session: async () => ({ address: parseServerAddress(address), token: 'the-session' }) },
    's',
  );

/** Opens, which may throw, and carries the content. */
async function serve(action: 'get' | 'put' | 'delete', path: string, put: Partial<Put> | null = null): Promise<void> {
  const carry = openTransfer(
    openRoot(),
    {
      project: 'default',
      name: 'c1',
      streamId: 's',
      action,
      path,
      put: put === null ? null : { type: 'file', mode: null, uid: null, gid: null, write: 'overwrite', ...put },
    },
    stream(),
  );
  await carry?.();
}

/** The client sends this, and then `end`s. */
function sends(content: string | Buffer, end: (response: ServerResponse) => void = (response) => response.end()) {
  handlers['GET /agent/stream/s/content'] = (_request, response) => {
    response.writeHead(200).write(content, () => end(response));
  };
}

/** Collects what the client would read. */
function collects(): { heads: unknown[]; parts: Buffer[] } {
  const got: { heads: unknown[]; parts: Buffer[] } = { heads: [], parts: [] };
  handlers['PUT /agent/stream/s/content'] = async (request, response) => {
    const head = request.headers[FILE_HEAD_HEADER];
    if (head !== undefined) got.heads.push(JSON.parse(String(head)));
    got.parts.push(await buffer(request));
    response.writeHead(204).end();
  };
  return got;
}

describe('get', () => {
  it('tells what the file is, and sends its bytes', async () => {
    const content = randomBytes(1_600_000);
    writeFileSync(join(directory, 'a'), content, { mode: 0o640 });
    const got = collects();
    await serve('get', '/a');
    expect(got.heads).toEqual([expect.objectContaining({ type: 'file', mode: 0o640, uid: 0, gid: 0 })]);
    expect(got.heads[0]).toMatchObject({ sizeBytes: content.length });
    expect(got.parts).toHaveLength(1);
    expect(got.parts[0]?.equals(content)).toBe(true);
    expect(requests[0]?.headers).toMatchObject({
      authorization: 'Bearer the-session',
      'content-length': String(content.length),
    });
  });

  it('sends an empty file', async () => {
    writeFileSync(join(directory, 'a'), '');
    const got = collects();
    await serve('get', '/a');
    expect(got.heads).toEqual([expect.objectContaining({ sizeBytes: 0 })]);
    expect(got.parts.map(String)).toEqual(['']);
  });

  it('sends what is larger than a request may be in parts, over one connection', async () => {
    const fd = openSync(join(directory, 'large'), 'w');
    ftruncateSync(fd, PART_BYTES + 3);
    writeSync(fd, 'end', PART_BYTES);
    closeSync(fd);
    const got = collects();
    await serve('get', '/large');
    expect(got.heads).toEqual([expect.objectContaining({ sizeBytes: PART_BYTES + 3 })]);
    expect(got.parts.map((part) => part.length)).toEqual([PART_BYTES, 3]);
    expect(String(got.parts[1])).toBe('end');
    expect(new Set(requests.map((request) => request.socket.remotePort)).size).toBe(1);
  });

  it('lists a directory', async () => {
    mkdirSync(join(directory, 'd'));
    writeFileSync(join(directory, 'd/b'), '');
    writeFileSync(join(directory, 'd/ä'), '');
    const got = collects();
    await serve('get', 'd');
    expect(got.heads).toEqual([expect.objectContaining({ type: 'directory' })]);
    expect(JSON.parse(String(got.parts[0]))).toEqual(['b', 'ä']);
  });

  it('tells where a symlink leads, never what the host has there', async () => {
    symlinkSync('/etc/passwd', join(directory, 'link'));
    const got = collects();
    await serve('get', 'link');
    expect(got.heads).toEqual([expect.objectContaining({ type: 'symlink', sizeBytes: '/etc/passwd'.length })]);
    expect(got.parts.map(String)).toEqual(['/etc/passwd']);
  });

  it('of something missing is LXD’s 404, before anything is sent', async () => {
    await expect(serve('get', '/nope')).rejects.toMatchObject({ code: 'not_found', message: 'Not Found' });
    expect(requests).toEqual([]);
  });

  it('reads no further than the client takes, and two blocks', async () => {
    const fd = openSync(join(directory, 'large'), 'w');
    ftruncateSync(fd, 50_000_000);
    closeSync(fd);
    const source = { sizeBytes: 50_000_000, read: vi.fn(async (block: Buffer) => block.length) };
    const arrived = new Promise<IncomingMessage>((resolve) => {
      handlers['PUT /agent/stream/s/content'] = (request) => resolve(request);
    });
    const sent = stream().send(
      { type: 'file', mode: 0o644, uid: 0, gid: 0, sizeBytes: source.sizeBytes, modifiedAt: '' },
      source,
    );
    const request = await arrived;
    let taken = 0;
    request.on('data', (chunk: Buffer) => {
      taken += chunk.length;
    });
    await eventually(() => expect(taken).toBeGreaterThan(10_000_000));
    request.pause();
    const stopped = taken;
    // The kernel's buffers of a connection hold some megabytes.
    expect(source.read.mock.calls.length * 512 * 1024).toBeLessThan(stopped + 16_000_000);
    request.socket.destroy();
    await expect(sent).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('fails when the client has gone', async () => {
    writeFileSync(join(directory, 'a'), 'x'.repeat(5_000_000));
    handlers['PUT /agent/stream/s/content'] = (_request, response) => response.writeHead(503).end();
    await expect(serve('get', '/a')).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('put', () => {
  it('makes a file with mode and owner', async () => {
    sends('hello');
    await serve('put', 'new', { mode: 0o600, uid: 12, gid: 34 });
    expect(readFileSync(join(directory, 'new'), 'utf8')).toBe('hello');
    expect(statSync(join(directory, 'new'))).toMatchObject({ uid: 12, gid: 34, mode: 0o100600 });
    expect(outcomes).toEqual([{ error: null }]);
  });

  it('writes large content whole and in order', async () => {
    const content = randomBytes(3_333_333);
    sends(content);
    await serve('put', 'large', {});
    expect(readFileSync(join(directory, 'large')).equals(content)).toBe(true);
  });

  it.each(['new', 'x'.repeat(2_000_000), ''])('replaces a file that is there, keeping mode and owner', async (text) => {
    writeFileSync(join(directory, 'old'), 'a longer text'.repeat(100_000), { mode: 0o751 });
    sends(text);
    await serve('put', 'old', { mode: 0o600, uid: 12 });
    expect(readFileSync(join(directory, 'old'), 'utf8')).toBe(text);
    expect(statSync(join(directory, 'old')).mode & 0o777).toBe(0o751);
  });

  it('appends', async () => {
    writeFileSync(join(directory, 'log'), 'one');
    sends('two');
    await serve('put', 'log', { write: 'append' });
    expect(readFileSync(join(directory, 'log'), 'utf8')).toBe('onetwo');
  });

  it('leaves no new file behind when the connection breaks half-way', async () => {
    sends('half of it', (response) => response.destroy());
    await expect(serve('put', 'half', {})).rejects.toThrow();
    expect(existsSync(join(directory, 'half'))).toBe(false);
    expect(outcomes).toEqual([{ error: expect.anything() }]);
  });

  it.each([404, 409])('leaves no new file behind when the content ends but is not whole: %i', async (status) => {
    sends('half of it');
    handlers['POST /agent/stream/s/outcome'] = (_request, response) => response.writeHead(status).end();
    await expect(serve('put', 'half', {})).rejects.toMatchObject({ message: 'The client went away before the end' });
    expect(existsSync(join(directory, 'half'))).toBe(false);
  });

  it('cuts a file that was there to what came when the connection breaks', async () => {
    writeFileSync(join(directory, 'old'), 'a longer text');
    sends('', (response) => response.destroy());
    await expect(serve('put', 'old', {})).rejects.toThrow();
    expect(readFileSync(join(directory, 'old'), 'utf8')).toBe('');
  });

  it('keeps the file when nobody says whether the client has heard of it', async () => {
    sends('all of it');
    handlers['POST /agent/stream/s/outcome'] = (request) => request.socket.destroy();
    await expect(serve('put', 'whole', {})).rejects.toMatchObject({ code: 'unavailable' });
    expect(readFileSync(join(directory, 'whole'), 'utf8')).toBe('all of it');
  });

  it('tells the client why a file cannot be written', async () => {
    sends('x'.repeat(5000));
    await expect(serve('put', 'link', { type: 'symlink' })).rejects.toThrow();
    expect(outcomes).toEqual([{ error: { code: 'bad_request', message: 'The target of the symlink is too long' } }]);
  });

  it('makes a directory without a stream', async () => {
    await serve('put', 'dir', { type: 'directory', mode: 0o711 });
    expect(statSync(join(directory, 'dir')).mode & 0o777).toBe(0o711);
    expect(requests).toEqual([]);
  });

  it('takes a symlink’s target from the body', async () => {
    sends('/etc/hosts');
    await serve('put', 'link', { type: 'symlink' });
    expect(readlinkSync(join(directory, 'link'))).toBe('/etc/hosts');
    expect(outcomes).toEqual([{ error: null }]);
  });

  it('into a missing directory is LXD’s 404, before anything is taken', async () => {
    await expect(serve('put', 'no/where', {})).rejects.toMatchObject({ code: 'not_found', message: 'Not Found' });
    expect(requests).toEqual([]);
  });
});

it('deletes a file without a stream', async () => {
  writeFileSync(join(directory, 'a'), '');
  await serve('delete', 'a');
  expect(existsSync(join(directory, 'a'))).toBe(false);
  expect(requests).toEqual([]);
});
