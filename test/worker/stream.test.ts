import { env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import {
  type ControlStreamFrame,
  encodeChunk,
  FILE_HEAD_HEADER,
  type FileHead,
  type FileOutcome,
  WINDOW_BYTES,
} from '#protocol/stream.ts';
import type { Env } from '#worker/env.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';

const bindings = env as unknown as Env;
const SECRETS: Record<string, string> = {
  '0': 'a'.repeat(64),
  '1': 'b'.repeat(64),
  '2': 'c'.repeat(64),
  control: 'd'.repeat(64),
};

async function openStream(kind: 'exec' | 'file', interactive = false) {
  const id = crypto.randomUUID();
  const stub = bindings.STREAM.get(bindings.STREAM.idFromName(id));
  const names = kind === 'file' ? [] : interactive ? ['0', 'control'] : ['0', '1', '2', 'control'];
  const fds = Object.fromEntries(await Promise.all(names.map(async (fd) => [fd, await sha256Hex(SECRETS[fd] ?? '')])));
  await stub.open({ id, member: 'host1', kind, fds, interactive });
  const upgrade = { Upgrade: 'websocket' };
  return {
    stub,
    client: (fd: string, secret = SECRETS[fd] ?? '') =>
      stub.fetch(`https://longshore/1.0/operations/${id}/websocket?secret=${secret}`, { headers: upgrade }),
    agent: (member = 'host1') =>
      stub.fetch(`https://longshore/agent/stream/${id}`, { headers: { ...upgrade, 'x-longshore-member': member } }),
  };
}

/** A socket's messages in order, each awaited. */
function inbox(response: Response) {
  const socket = response.webSocket;
  if (socket === null) throw new Error(`no upgrade: ${response.status}`);
  socket.binaryType = 'arraybuffer';
  const messages: (string | Uint8Array | null)[] = [];
  const waiting: ((message: string | Uint8Array | null) => void)[] = [];
  const push = (message: string | Uint8Array | null) => {
    const next = waiting.shift();
    if (next === undefined) messages.push(message);
    else next(message);
  };
  socket.addEventListener('message', ({ data }) =>
    push(typeof data === 'string' ? data : new Uint8Array(data as ArrayBuffer)),
  );
  socket.addEventListener('close', () => push(null));
  socket.accept();
  return {
    socket,
    next: () =>
      new Promise<string | Uint8Array | null>((resolve) => {
        const ready = messages.shift();
        if (ready === undefined) waiting.push(resolve);
        else resolve(ready);
      }),
    count: () => messages.length,
  };
}

const text = (message: string | Uint8Array | null) =>
  message instanceof Uint8Array ? new TextDecoder().decode(message) : message;
const frame = (message: string | Uint8Array | null) => JSON.parse(String(message)) as ControlStreamFrame;
const bytes = (content: string) => new TextEncoder().encode(content);

describe('an exec stream', () => {
  it('starts when stdin, stdout, stderr and the agent are there, without the control socket', async () => {
    const stream = await openStream('exec');
    const agent = inbox(await stream.agent());
    for (const fd of ['0', '1']) inbox(await stream.client(fd));
    expect(agent.count()).toBe(0);
    inbox(await stream.client('2'));
    expect(frame(await agent.next())).toEqual({ type: 'start' });
  });

  it('keeps input that came before the start, and its end', async () => {
    const stream = await openStream('exec');
    const stdin = inbox(await stream.client('0'));
    stdin.socket.send(bytes('early'));
    stdin.socket.send('');
    for (const fd of ['1', '2']) inbox(await stream.client(fd));
    const agent = inbox(await stream.agent());
    expect(frame(await agent.next())).toEqual({ type: 'start' });
    expect(await agent.next()).toEqual(encodeChunk(0, bytes('early')));
    expect(frame(await agent.next())).toEqual({ type: 'end', channel: 0 });
  });

  it('sends output to its socket, the end as an empty text frame, and closes without a code', async () => {
    const stream = await openStream('exec');
    const agent = inbox(await stream.agent());
    const [, stdout, stderr] = [
      inbox(await stream.client('0')),
      inbox(await stream.client('1')),
      inbox(await stream.client('2')),
    ];
    await agent.next();
    // One after the other: the test runner's wrapper around the object does not keep messages in order.
    agent.socket.send(encodeChunk(1, bytes('out')));
    expect(text((await stdout?.next()) ?? null)).toBe('out');
    agent.socket.send(JSON.stringify({ type: 'end', channel: 1 }));
    expect(await stdout?.next()).toBe('');
    agent.socket.send(encodeChunk(2, bytes('err')));
    expect(text((await stderr?.next()) ?? null)).toBe('err');
    agent.socket.send(JSON.stringify({ type: 'end', channel: 2 }));
    expect(await stderr?.next()).toBe('');
    agent.socket.close(1000);
    expect(await stdout?.next()).toBeNull();
  });

  it('carries a terminal on socket 0 both ways, with resize and signal from the control socket', async () => {
    const stream = await openStream('exec', true);
    const agent = inbox(await stream.agent());
    const terminal = inbox(await stream.client('0'));
    const control = inbox(await stream.client('control'));
    expect(frame(await agent.next())).toEqual({ type: 'start' });
    agent.socket.send(encodeChunk(1, bytes('$ ')));
    expect(text(await terminal.next())).toBe('$ ');
    expect(frame(await agent.next())).toMatchObject({ type: 'credit', channel: 1, bytes: 2 });
    control.socket.send('{"command":"window-resize","args":{"width":"120","height":"40"}}');
    expect(frame(await agent.next())).toEqual({ type: 'resize', width: 120, height: 40 });
    control.socket.send('{"command":"signal","signal":2}');
    expect(frame(await agent.next())).toEqual({ type: 'signal', signal: 2 });
  });

  it('tells the agent to kill the program when the control socket goes', async () => {
    const stream = await openStream('exec', true);
    const agent = inbox(await stream.agent());
    inbox(await stream.client('0'));
    const control = inbox(await stream.client('control'));
    await agent.next();
    control.socket.close(1000);
    expect(frame(await agent.next())).toMatchObject({ type: 'abort' });
  });

  it('refuses a wrong secret, a used one, and another member’s agent', async () => {
    const stream = await openStream('exec');
    expect((await stream.client('0', 'e'.repeat(64))).status).toBe(403);
    inbox(await stream.client('0'));
    expect((await stream.client('0')).status).toBe(403);
    expect((await stream.agent('host2')).status).toBe(403);
    inbox(await stream.agent());
    expect((await stream.agent()).status).toBe(403);
  });

  it('does not exist before it was opened', async () => {
    const stub = bindings.STREAM.get(bindings.STREAM.idFromName('never'));
    expect((await stub.fetch('https://longshore/1.0/operations/never/websocket?secret=x')).status).toBe(404);
  });

  it('sends no more than a window of input until the agent gives credit', async () => {
    const stream = await openStream('exec');
    const stdin = inbox(await stream.client('0'));
    const agent = inbox(await stream.agent());
    for (const fd of ['1', '2']) inbox(await stream.client(fd));
    await agent.next();
    const chunk = new Uint8Array(128 * 1024);
    const total = WINDOW_BYTES + 20 * chunk.length;
    for (let sent = 0; sent < total; sent += chunk.length) stdin.socket.send(chunk);
    let received = 0;
    while (received < WINDOW_BYTES) received += ((await agent.next()) as Uint8Array).length - 1;
    expect(received).toBeLessThanOrEqual(WINDOW_BYTES + chunk.length);
    agent.socket.send(JSON.stringify({ type: 'credit', channel: 0, bytes: received }));
    while (received < total) received += ((await agent.next()) as Uint8Array).length - 1;
    stdin.socket.send('');
    expect(frame(await agent.next())).toEqual({ type: 'end', channel: 0 });
  });
});

describe('a file transfer', () => {
  const head = (sizeBytes: number): FileHead => ({
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes,
    modifiedAt: '2026-01-01T00:00:00Z',
  });

  async function openTransfer() {
    const { stub } = await openStream('file');
    const fromAgent = (method: string, what: string, init: RequestInit = {}, member = 'host1') =>
      stub.fetch(`https://longshore/agent/stream/x/${what}`, {
        ...init,
        method,
        headers: { ...init.headers, 'x-longshore-member': member },
      });
    return {
      stub,
      get: () => stub.fetch('https://stream/transfer'),
      put: (body: BodyInit, signal?: AbortSignal) =>
        stub.fetch('https://stream/transfer', { method: 'PUT', body, ...(signal === undefined ? {} : { signal }) }),
      /** The agent brings a part; the first one with the head. */
      bring: (body: BodyInit, first?: FileHead) =>
        fromAgent('PUT', 'content', {
          body,
          ...(first === undefined ? {} : { headers: { [FILE_HEAD_HEADER]: JSON.stringify(first) } }),
        }),
      take: (member?: string) => fromAgent('GET', 'content', {}, member),
      conclude: (error: FileOutcome['error'] = null) =>
        fromAgent('POST', 'outcome', { body: JSON.stringify({ error }) }),
    };
  }

  it('answers a get with the head and the content, whoever comes first', async () => {
    const first = await openTransfer();
    const brought = first.bring('hello', head(5));
    const response = await first.get();
    expect(JSON.parse(response.headers.get(FILE_HEAD_HEADER) ?? '')).toEqual(head(5));
    expect(await response.text()).toBe('hello');
    expect((await brought).status).toBe(204);

    const second = await openTransfer();
    const answer = second.get();
    const late = second.bring('hello', head(5));
    expect(await (await answer).text()).toBe('hello');
    expect((await late).status).toBe(204);
  });

  it('puts the parts of a large file together', async () => {
    const transfer = await openTransfer();
    const parts = transfer
      .bring('one ', head(8))
      .then((answer) => expect(answer.status).toBe(204))
      .then(() => transfer.bring('two '));
    expect(await (await transfer.get()).text()).toBe('one two ');
    expect((await parts).status).toBe(204);
  });

  it('answers a get of an empty file', async () => {
    const transfer = await openTransfer();
    const brought = transfer.bring('', head(0));
    expect(await (await transfer.get()).text()).toBe('');
    expect((await brought).status).toBe(204);
  });

  it('refuses a part that is longer than what was promised', async () => {
    const transfer = await openTransfer();
    expect((await transfer.bring('too long', head(5))).status).toBe(400);
  });

  it('takes no more from the agent than the client reads, and some buffers', async () => {
    const transfer = await openTransfer();
    const chunk = new Uint8Array(64 * 1024);
    const total = 256 * chunk.length;
    const { readable, writable } = new FixedLengthStream(total);
    let taken = 0;
    const feeding = (async () => {
      const writer = writable.getWriter();
      for (let sent = 0; sent < total; sent += chunk.length) {
        await writer.write(chunk);
        taken += chunk.length;
      }
      await writer.close();
    })();
    const brought = transfer.bring(readable, head(total));
    const reader = (await transfer.get()).body?.getReader();
    let read = 0;
    for (let next = await reader?.read(); next?.value !== undefined; next = await reader?.read()) {
      read += next.value.length;
      expect(taken - read).toBeLessThanOrEqual(1024 * 1024);
    }
    expect(read).toBe(total);
    await feeding;
    expect((await brought).status).toBe(204);
  });

  it('breaks the client’s download when the agent breaks off', async () => {
    const transfer = await openTransfer();
    const { readable, writable } = new FixedLengthStream(100);
    const writer = writable.getWriter();
    const brought = transfer.bring(readable, head(100));
    const response = await transfer.get();
    await writer.write(bytes('half'));
    writer.abort(new Error('gone')).catch(() => {});
    await expect(response.text()).rejects.toThrow();
    expect((await brought.catch(() => null))?.status).not.toBe(204);
  });

  it('tells the agent that the client has gone', async () => {
    const transfer = await openTransfer();
    const brought = transfer.bring(new Uint8Array(4 * 1024 * 1024), head(4 * 1024 * 1024));
    await (await transfer.get()).body?.cancel();
    expect((await brought).status).toBe(503);
  });

  it('hands a put’s body to the agent and waits until it has it on disk', async () => {
    const transfer = await openTransfer();
    const answer = transfer.put('content');
    expect(await (await transfer.take()).text()).toBe('content');
    expect((await transfer.conclude()).status).toBe(204);
    expect((await answer).status).toBe(204);
  });

  it('does not let a put succeed whose client went before its end', async () => {
    const transfer = await openTransfer();
    const client = new AbortController();
    const { readable, writable } = new IdentityTransformStream();
    const answer = transfer.put(readable, client.signal).catch(() => null);
    const content = (await transfer.take()).body?.getReader();
    void writable.getWriter().write(bytes('half of it'));
    expect(text((await content?.read())?.value ?? null)).toBe('half of it');
    client.abort();
    await content?.read().catch(() => {});
    expect((await transfer.conclude()).status).toBe(409);
    expect(await answer).toBeNull();
  });

  it('answers the agent’s error with its code, while the client still sends', async () => {
    const transfer = await openTransfer();
    const answer = transfer.put(new Uint8Array(4 * 1024 * 1024));
    await (await transfer.take()).body?.cancel();
    expect((await transfer.conclude({ code: 'failed', message: 'No space left on device' })).status).toBe(204);
    const response = await answer;
    expect(response.status).toBe(500);
    expect(await response.json()).toEqual({ error: { code: 'failed', message: 'No space left on device' } });
  });

  it('fails with 503 when the agent goes while it receives, and says no more', async () => {
    const transfer = await openTransfer();
    const answer = transfer.put(new Uint8Array(4 * 1024 * 1024));
    await (await transfer.take()).body?.cancel();
    expect((await answer).status).toBe(503);
  });

  it('refuses another member’s agent, and a second one', async () => {
    const transfer = await openTransfer();
    const answer = transfer.put('content');
    expect((await transfer.take('host2')).status).toBe(403);
    const content = await transfer.take();
    expect((await transfer.take()).status).toBe(400);
    expect(await content.text()).toBe('content');
    await transfer.conclude();
    expect((await answer).status).toBe(204);
  });

  it('is aborted with a reason', async () => {
    const transfer = await openTransfer();
    const answer = transfer.get();
    await transfer.stub.abort('Cluster member "host1" is offline');
    const response = await answer;
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { message: 'Cluster member "host1" is offline' } });
    expect((await transfer.take()).status).toBe(404);
  });
});
