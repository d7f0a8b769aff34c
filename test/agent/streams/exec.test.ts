import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { silentLog } from '#agent/log.ts';
import { pumpExec } from '#agent/streams/exec.ts';
import { type AgentStream, openAgentStream } from '#agent/streams/stream.ts';
import { encodeChunk, WINDOW_BYTES } from '#protocol/stream.ts';
import { eventually } from '#test/eventually.ts';
import { type FakeControlPlane, type Peer, startControlPlane } from '../fakes/control-plane.ts';
import { createFakeProcess, type FakeProcess } from '../fakes/process.ts';

let plane: FakeControlPlane;
let stream: AgentStream;
let process: FakeProcess;
let peer: Peer;

beforeEach(async () => {
  plane = await startControlPlane();
  stream = await openAgentStream({ log: silentLog }, new WebSocket(plane.address));
  await eventually(() => expect(plane.peers).toHaveLength(1));
  const [first] = plane.peers;
  if (first === undefined) throw new Error('no peer');
  peer = first;
  process = createFakeProcess();
});
afterEach(async () => {
  await plane.close();
  await stream.close();
});

const run = (interactive = false, signal = new AbortController().signal) =>
  pumpExec(process, stream, interactive, signal);
const outputOf = (channel: number) =>
  Buffer.concat(peer.binary.filter((message) => message[0] === channel).map((message) => message.subarray(1)));
const ends = () => peer.frames.filter((frame) => frame.type === 'end').map((frame) => frame.channel);

describe('a program without a terminal', () => {
  it('has sent all its output and the ends before its code is known', async () => {
    const code = run();
    process.output('stdout', 'out');
    process.output('stderr', 'err');
    process.exit(3);
    expect(await code).toBe(3);
    await stream.close();
    expect(outputOf(1).toString()).toBe('out');
    expect(outputOf(2).toString()).toBe('err');
    expect(ends()).toEqual([1, 2]);
  });

  it('gets its input and its end, and gives credit for what it took', async () => {
    const code = run();
    peer.socket.send(encodeChunk(0, Buffer.from('hello')));
    peer.send({ type: 'end', channel: 0 });
    await eventually(() => expect(process.inputEnded).toBe(true));
    expect(Buffer.concat(process.input).toString()).toBe('hello');
    await eventually(() => expect(peer.frames).toContainEqual({ type: 'credit', channel: 0, bytes: 5 }));
    process.exit(0);
    await code;
  });

  it('is paused when the client does not read, and loses nothing', async () => {
    const total = WINDOW_BYTES + 3 * 1024 * 1024;
    const chunk = new Uint8Array(1024 * 1024).fill(7);
    const code = run();
    for (let sent = 0; sent < total; sent += chunk.length) process.output('stdout', chunk);
    process.exit(0);
    await eventually(() => expect(outputOf(1)).toHaveLength(WINDOW_BYTES));
    expect(process.paused).toBe(true);
    for (let given = 0; given < total; given += chunk.length)
      peer.send({ type: 'credit', channel: 1, bytes: chunk.length });
    expect(await code).toBe(0);
    await stream.close();
    expect(outputOf(1)).toHaveLength(total);
  });

  it('holds up the client when it does not read', async () => {
    process.full = true;
    const code = run();
    peer.socket.send(encodeChunk(0, Buffer.from('one')));
    peer.socket.send(encodeChunk(0, Buffer.from('two')));
    await eventually(() => expect(process.input).toHaveLength(1));
    expect(peer.frames.filter((frame) => frame.type === 'credit')).toEqual([{ type: 'credit', channel: 0, bytes: 3 }]);
    process.drain();
    await eventually(() => expect(process.input).toHaveLength(2));
    process.exit(0);
    await code;
  });
});

describe('a program on a terminal', () => {
  it('talks on one channel both ways, and hears of sizes and signals', async () => {
    const code = run(true);
    peer.send({ type: 'resize', width: 132, height: 50 });
    peer.send({ type: 'signal', signal: 15 });
    process.output('stdout', 'prompt');
    await eventually(() => expect(process.signals).toEqual([15]));
    expect(process.sizes).toEqual(['132x50']);
    process.exit(0);
    await code;
    await stream.close();
    expect(outputOf(0).toString()).toBe('prompt');
    expect(ends()).toEqual([0]);
  });
});

describe('a program is killed', () => {
  it('when the client aborts', async () => {
    const code = run();
    peer.send({ type: 'abort', reason: 'The client is gone' });
    expect(await code).toBe(137);
    expect(process.signals).toEqual([9]);
  });

  it('when the socket breaks, also while its output waits for the client', async () => {
    const code = run();
    process.output('stdout', new Uint8Array(WINDOW_BYTES + 1));
    peer.socket.terminate();
    expect(await code).toBe(137);
  });

  it('when its command is cancelled', async () => {
    const abort = new AbortController();
    const code = run(false, abort.signal);
    abort.abort();
    expect(await code).toBe(137);
  });
});

it('a peer that sends more than its window breaks the stream', async () => {
  for (let sent = 0; sent <= WINDOW_BYTES + 1024 * 1024; sent += 1024 * 1024) {
    peer.socket.send(encodeChunk(0, new Uint8Array(1024 * 1024)));
  }
  peer.send({ type: 'start' });
  await stream.started;
  await expect(stream.read()).rejects.toThrow('window');
});

it('frames that are no frames are ignored', async () => {
  peer.send('not json');
  peer.send({ type: 'nonsense' });
  peer.send({ type: 'start' });
  await expect(stream.started).resolves.toBeUndefined();
});

it('opening a stream that is refused is an error', async () => {
  await expect(openAgentStream({ log: silentLog }, new WebSocket('http://127.0.0.1:1'))).rejects.toThrow('stream');
});
