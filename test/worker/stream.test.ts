import { env } from 'cloudflare:test';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES, type ControlStreamFrame, encodeChunk, type FileHead, WINDOW_BYTES } from '#protocol/stream.ts';
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
    const agent = inbox(await stream.agent());
    for (const fd of ['1', '2']) inbox(await stream.client(fd));
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
    agent.socket.send(encodeChunk(1, bytes('out')));
    agent.socket.send(encodeChunk(2, bytes('err')));
    agent.socket.send(JSON.stringify({ type: 'end', channel: 1 }));
    agent.socket.send(JSON.stringify({ type: 'end', channel: 2 }));
    expect(text((await stdout?.next()) ?? null)).toBe('out');
    expect(await stdout?.next()).toBe('');
    expect(text((await stderr?.next()) ?? null)).toBe('err');
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
    stdin.socket.send('');
    let received = 0;
    while (received < WINDOW_BYTES) received += ((await agent.next()) as Uint8Array).length - 1;
    expect(received).toBeLessThanOrEqual(WINDOW_BYTES + chunk.length);
    agent.socket.send(JSON.stringify({ type: 'credit', channel: 0, bytes: received }));
    while (received < total) received += ((await agent.next()) as Uint8Array).length - 1;
    expect(frame(await agent.next())).toEqual({ type: 'end', channel: 0 });
  });
});

describe('a file transfer', () => {
  const head: FileHead = {
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes: 5,
    modifiedAt: '2026-01-01T00:00:00Z',
    target: null,
    entries: null,
  };

  it('answers a get with the head and the content', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    const agent = inbox(await stream.agent());
    agent.socket.send(JSON.stringify({ type: 'head', head }));
    expect(frame(await agent.next())).toEqual({ type: 'start' });
    agent.socket.send(encodeChunk(0, bytes('hello')));
    agent.socket.send(JSON.stringify({ type: 'end', channel: 0 }));
    const response = await answer;
    expect(JSON.parse(response.headers.get('x-file-head') ?? '')).toEqual(head);
    expect(await response.text()).toBe('hello');
  });

  it('delivers what the agent sent before it left to a client that reads later', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    const agent = inbox(await stream.agent());
    const chunks = Array.from({ length: 8 }, (_, index) => new Uint8Array(CHUNK_BYTES).fill(index));
    const sizeBytes = chunks.length * CHUNK_BYTES;
    agent.socket.send(JSON.stringify({ type: 'head', head: { ...head, sizeBytes } }));
    expect(frame(await agent.next())).toEqual({ type: 'start' });
    for (const chunk of chunks) agent.socket.send(encodeChunk(0, chunk));
    agent.socket.send(JSON.stringify({ type: 'end', channel: 0 }));
    agent.socket.close(1000);
    const response = await answer;
    expect(await agent.next()).toBeNull();
    expect((await response.arrayBuffer()).byteLength).toBe(sizeBytes);
  });

  it('breaks a get off when the agent leaves before the end', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    const agent = inbox(await stream.agent());
    agent.socket.send(JSON.stringify({ type: 'head', head }));
    expect(frame(await agent.next())).toEqual({ type: 'start' });
    agent.socket.send(encodeChunk(0, bytes('hel')));
    agent.socket.close(1000);
    await expect((await answer).text()).rejects.toThrow();
  });

  it('sends a put’s body and waits until the agent has it on disk', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer', { method: 'PUT', body: 'content' });
    const agent = inbox(await stream.agent());
    expect(await agent.next()).toEqual(encodeChunk(0, bytes('content')));
    expect(frame(await agent.next())).toEqual({ type: 'end', channel: 0 });
    agent.socket.send(JSON.stringify({ type: 'done' }));
    expect((await answer).status).toBe(204);
  });

  it('answers the agent’s error with its code', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    const agent = inbox(await stream.agent());
    agent.socket.send(JSON.stringify({ type: 'error', error: { code: 'not_found', message: 'Not Found' } }));
    const response = await answer;
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ error: { code: 'not_found', message: 'Not Found' } });
  });

  it('fails with 503 when the agent goes before its answer', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    const agent = inbox(await stream.agent());
    agent.socket.close(1000);
    expect((await answer).status).toBe(503);
  });

  it('is aborted with a reason', async () => {
    const stream = await openStream('file');
    const answer = stream.stub.fetch('https://stream/transfer');
    await stream.stub.abort('Cluster member "host1" is offline');
    const response = await answer;
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { message: 'Cluster member "host1" is offline' } });
  });
});
