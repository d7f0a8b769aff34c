/**
 * The stream of an exec whose clients are on this very host: the same as one that goes by the control plane, for
 * `commands/instance-exec.ts` to run on.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { WebSocket } from 'ws';
import { execFds, readControl } from '#protocol/api/instance-exec.ts';
import { failed } from '#protocol/errors.ts';
import { CHANNEL_STDERR, WINDOW_BYTES } from '#protocol/stream.ts';
import { createInputQueue } from '../../streams/input-queue.ts';
import type { AgentStream, StreamControl } from '../../streams/stream.ts';

/** LXD's limit for exec's websockets. */
const CONNECT_LIMIT_MS = 5_000;
/** A client that does not answer the close is not waited for. */
const CLOSE_LIMIT_MS = 10_000;

export interface LocalStream {
  stream: AgentStream;
  /** Secrets by file descriptor, for the client. */
  fds: Record<string, string>;
  /** Which descriptor a secret opens; each one once. Null: none. */
  claim(secret: string): string | null;
  connect(fd: string, socket: WebSocket): void;
}

const hash = (text: string) => createHash('sha256').update(text).digest();

export function createLocalStream(interactive: boolean): LocalStream {
  const names = execFds(interactive);
  const fds = Object.fromEntries(names.map((fd) => [fd, randomBytes(32).toString('hex')]));
  const needed = interactive ? names : names.filter((fd) => fd !== 'control');
  const hashes = names.map((fd) => ({ fd, hash: hash(fds[fd] ?? '') }));
  const claimed = new Set<string>();
  const sockets = new Map<string, WebSocket>();
  /** Every descriptor that was there once: standard input may have ended already. */
  const connected = new Set<string>();
  const abort = new AbortController();
  const listeners: ((frame: StreamControl) => void)[] = [];

  let begin = () => {};
  let refuse: (error: Error) => void = () => {};
  const started = new Promise<void>((resolve, reject) => {
    begin = resolve;
    refuse = reject;
  });
  started.catch(() => {});
  const timer = setTimeout(() => end(failed('Timed out waiting for websockets to connect')), CONNECT_LIMIT_MS);

  let held = 0;
  const input = createInputQueue(Number.POSITIVE_INFINITY, (bytes) => {
    held -= bytes;
    if (held <= WINDOW_BYTES) sockets.get('0')?.resume();
  });
  const takeInput = (bytes: Buffer) => {
    held += bytes.length;
    // The kernel's buffer, and then the client, wait for the program.
    if (held > WINDOW_BYTES) sockets.get('0')?.pause();
    input.push(bytes);
  };

  const end = (error: Error) => {
    clearTimeout(timer);
    refuse(error);
    input.fail(error);
    abort.abort(error);
  };
  const outputOf = (channel: number) => sockets.get(interactive ? '0' : channel === CHANNEL_STDERR ? '2' : '1');

  const listen = (fd: string, socket: WebSocket) => {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (fd === 'control') {
        const frame = readControl(data);
        if (frame !== null) for (const listener of listeners) listener(frame);
      } else if (fd === '0') {
        // An empty text frame is LXD's mark of the end.
        if (!isBinary && data.length === 0) input.end();
        else takeInput(data);
      }
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      sockets.delete(fd);
      // The control socket is the client's life.
      if (fd === 'control') end(failed('The client is gone'));
      else if (fd === '0') input.end();
    });
  };

  const stream: AgentStream = {
    started,
    signal: abort.signal,
    send: (channel, bytes) =>
      new Promise((resolve, reject) => {
        const socket = outputOf(channel);
        if (socket?.readyState !== WebSocket.OPEN) return reject(failed('The client is gone'));
        socket.send(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    tell: (frame) => {
      if (frame.type === 'end') outputOf(frame.channel)?.send('', () => {});
    },
    read: () => input.next(),
    onControl: (listener) => void listeners.push(listener),
    close: async () => {
      clearTimeout(timer);
      for (const socket of sockets.values()) closeSocket(socket);
    },
  };
  return {
    stream,
    fds,
    claim: (secret) => {
      const wanted = hash(secret);
      const fd = hashes.find((known) => timingSafeEqual(known.hash, wanted))?.fd ?? null;
      if (fd === null || claimed.has(fd)) return null;
      claimed.add(fd);
      return fd;
    },
    connect: (fd, socket) => {
      sockets.set(fd, socket);
      connected.add(fd);
      listen(fd, socket);
      if (!needed.every((name) => connected.has(name))) return;
      clearTimeout(timer);
      begin();
    },
  };
}

/**
 * Behind everything sent, and without a status code: some clients take any other close for an error. Nobody waits for it: a
 * client never reads its control socket.
 */
function closeSocket(socket: WebSocket): void {
  if (socket.readyState === WebSocket.CLOSED) return;
  const timer = setTimeout(() => socket.terminate(), CLOSE_LIMIT_MS);
  socket.once('close', () => clearTimeout(timer));
  // A paused socket would not see the answer.
  socket.resume();
  socket.close();
}
