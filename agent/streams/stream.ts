/**
 * The agent's end of one stream: a websocket that carries up to three channels of bytes with a credit window each way, and
 * control frames. It lives as long as its exec or file transfer; when it breaks, everything waiting on it is told.
 */
import { WebSocket } from 'ws';
import { failed, unavailable } from '#protocol/errors.ts';
import {
  type AgentStreamFrame,
  CHANNEL_INPUT,
  CHUNK_BYTES,
  ControlStreamFrame,
  encodeChunk,
  WINDOW_BYTES,
} from '#protocol/stream.ts';
import type { Log } from '../log.ts';
import { createInputQueue } from './input-queue.ts';
import { createSendWindow, type SendWindow } from './window.ts';

/** The last frames must reach the peer before the socket closes; a peer that does not take them is not waited for. */
const FLUSH_LIMIT_MS = 10_000;
/** Middleboxes drop idle connections after a minute or more. */
const PING_INTERVAL_MS = 20_000;
/** More than a window is the peer's mistake; some slack for the chunk that crosses a credit. */
const INPUT_LIMIT_BYTES = WINDOW_BYTES + CHUNK_BYTES;

export type StreamControl = Extract<ControlStreamFrame, { type: 'resize' | 'signal' }>;

export interface AgentStream {
  /** Resolves at the peer's `start`; rejects when the stream ends before. */
  started: Promise<void>;
  /** Aborted when the client is gone or the socket broke: kill what runs, drop what is half-written. */
  signal: AbortSignal;
  /** Sends all bytes in order as the window allows; rejects when the stream ends first. */
  send(channel: number, bytes: Uint8Array): Promise<void>;
  /** A `head`, `end`, `done` or `error` after everything sent so far. */
  tell(frame: AgentStreamFrame): void;
  /** The next bytes of the input channel, null at its end. Credit goes back as they are read. */
  read(): Promise<Uint8Array | null>;
  onControl(listener: (frame: StreamControl) => void): void;
  /** Flushes and closes; safe to call twice. */
  close(): Promise<void>;
}

/** Waits until `socket` (connecting) is open and wraps it. Throws `unavailable` when it cannot be opened. */
export async function openAgentStream(deps: { log: Log }, socket: WebSocket): Promise<AgentStream> {
  // Frames may come in the same packet as the upgrade: listeners first.
  const stream = wrap(deps, socket);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('close', () => reject(unavailable('Cannot open the stream')));
  });
  return stream;
}

function wrap({ log }: { log: Log }, socket: WebSocket): AgentStream {
  const abort = new AbortController();
  const windows = new Map<number, SendWindow>();
  const listeners: ((frame: StreamControl) => void)[] = [];
  let begin: () => void = () => {};
  let refuse: (error: Error) => void = () => {};
  const started = new Promise<void>((resolve, reject) => {
    begin = resolve;
    refuse = reject;
  });
  // Nobody has to await it: a file transfer that is refused has no start.
  started.catch(() => {});

  const windowOf = (channel: number) => {
    const window = windows.get(channel) ?? createSendWindow();
    windows.set(channel, window);
    return window;
  };
  const tell = (frame: AgentStreamFrame) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
  };
  const input = createInputQueue(INPUT_LIMIT_BYTES, (bytes) => tell({ type: 'credit', channel: CHANNEL_INPUT, bytes }));

  const end = (error: Error) => {
    refuse(error);
    input.fail(error);
    // Windows made later must fail as well.
    for (const channel of [0, 1, 2]) windowOf(channel).fail(error);
    abort.abort(error);
  };

  const take = (frame: ControlStreamFrame) => {
    switch (frame.type) {
      case 'start':
        return begin();
      case 'end':
        return frame.channel === CHANNEL_INPUT ? input.end() : undefined;
      case 'credit':
        return windowOf(frame.channel).give(frame.bytes);
      case 'abort':
        return end(failed(frame.reason));
      case 'resize':
      case 'signal':
        for (const listener of listeners) listener(frame);
    }
  };

  socket.on('message', (data, isBinary) => {
    const bytes = toBytes(data);
    if (isBinary) {
      if (bytes[0] === CHANNEL_INPUT) input.push(bytes.subarray(1));
      return;
    }
    const parsed = ControlStreamFrame.safeParse(parseJson(bytes.toString()));
    if (parsed.success) take(parsed.data);
    else log.warn('stream.frame.bad', { reason: parsed.error.issues[0]?.message });
  });
  socket.on('error', (err) => log.debug('stream.broken', { err }));
  const ping = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN) socket.ping();
  }, PING_INTERVAL_MS);
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => {
      clearInterval(ping);
      end(unavailable('The stream was closed'));
      resolve();
    });
  });

  return {
    started,
    signal: abort.signal,
    tell,
    send: async (channel, bytes) => {
      const window = windowOf(channel);
      for (let at = 0; at < bytes.length; ) {
        const size = await window.take(Math.min(CHUNK_BYTES, bytes.length - at));
        if (socket.readyState === WebSocket.OPEN) socket.send(encodeChunk(channel, bytes.subarray(at, at + size)));
        at += size;
      }
    },
    read: () => input.next(),
    onControl: (listener) => void listeners.push(listener),
    close: async () => {
      // The close frame is queued behind everything sent, so its answer means that all has arrived.
      if (socket.readyState === WebSocket.OPEN) socket.close(1000);
      const timer = setTimeout(() => socket.terminate(), FLUSH_LIMIT_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

function toBytes(data: Buffer | ArrayBuffer | Buffer[]): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
