/**
 * The content of one file transfer over HTTP (`protocol/stream.ts`). Bodies have back-pressure end to end, so what is held
 * here is two reads of the file, or what arrived while the last write was under way.
 */
import { read } from 'node:fs';
import { type ClientRequest, type IncomingMessage, type RequestOptions, request } from 'node:http';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { AppError, badRequest, unavailable, type WireError } from '#protocol/errors.ts';
import { FILE_HEAD_HEADER, type FileHead, type FileOutcome, PART_BYTES } from '#protocol/stream.ts';
import type { Session } from '../link/link.ts';
import type { Pool } from '../link/pool.ts';

const readFd = promisify(read);

/** Few reads and few writes of the socket for a large file; two of them are in memory. */
const READ_BYTES = 512 * 1024;
/** Half-open connections are found, and middleboxes see traffic, while a slow client takes its time. */
const KEEPALIVE_MS = 20_000;

export interface ContentDeps {
  pool: Pool;
  /** Waits for the link; rejects with `unavailable`. */
  session(): Promise<Session>;
}

/** Where content comes from: `read` fills a buffer from `position` on and tells how much it got. */
export interface ContentSource {
  sizeBytes: number;
  read(buffer: Buffer, position: number): Promise<number>;
}

export interface ContentStream {
  /** Sends head and content; resolves when the client has taken all of it. Throws when either side breaks off. */
  send(head: FileHead, source: ContentSource): Promise<void>;
  /** The content that the client sends: the body of an answer. Throws `unavailable`. */
  receive(): Promise<IncomingMessage>;
  /** Tells how a put went. False: the client had gone before its end, so what was received is not whole. */
  conclude(error: WireError | null): Promise<boolean>;
}

export function createContentStream(deps: ContentDeps, streamId: string): ContentStream {
  const open = async (method: string, what: string, headers: Record<string, string | number>) => {
    const { address, token } = await deps.session();
    const options: RequestOptions = {
      agent: deps.pool.to(address),
      host: address.host,
      port: address.port,
      method,
      path: `/agent/stream/${encodeURIComponent(streamId)}/${what}`,
      headers: { host: address.authority, authorization: `Bearer ${token}`, ...headers },
    };
    const outgoing = request(options);
    outgoing.setSocketKeepAlive(true, KEEPALIVE_MS);
    return outgoing;
  };
  const ask = async (
    method: string,
    what: string,
    expected: readonly number[],
    headers: Record<string, string | number> = {},
    sendBody?: (write: Write) => Promise<void>,
  ): Promise<IncomingMessage> => {
    for (;;) {
      const outgoing = await open(method, what, headers);
      try {
        const answer = await exchange(outgoing, sendBody);
        if (expected.includes(answer.statusCode ?? 0)) return answer;
        outgoing.destroy();
      } catch (error) {
        // A kept connection that was just being closed; what did arrive once is refused the second time.
        if (outgoing.reusedSocket && error instanceof AppError && error.code === 'unavailable') continue;
        throw error;
      }
      throw unavailable('The control plane has ended the transfer');
    }
  };

  return {
    send: async (head, source) => {
      for (let at = 0; at === 0 || at < source.sizeBytes; at += PART_BYTES) {
        const partBytes = Math.min(PART_BYTES, source.sizeBytes - at);
        const first: Record<string, string> = at === 0 ? { [FILE_HEAD_HEADER]: JSON.stringify(head) } : {};
        const headers = { ...first, 'content-length': partBytes };
        const sendBody = (write: Write) => sendPart(write, source, at, partBytes);
        const answer = await ask('PUT', 'content', [204], headers, sendBody);
        // To its end, so that the next part finds the connection free.
        await finished(answer.resume());
      }
    },
    receive: () => ask('GET', 'content', [200]),
    conclude: async (error) => {
      const body = Buffer.from(JSON.stringify({ error } satisfies FileOutcome));
      const headers = { 'content-type': 'application/json', 'content-length': body.length };
      const answer = await ask('POST', 'outcome', [204, 404, 409], headers, (write) => write(body));
      answer.resume();
      return answer.statusCode === 204;
    },
  };
}

/** Resolves when the bytes have left, so that their buffer is free; rejects when nobody takes them any more. */
type Write = (bytes: Uint8Array) => Promise<void>;

/** One request with its body, which is broken off when the answer comes first. Resolves to the answer. */
async function exchange(
  outgoing: ClientRequest,
  sendBody: (write: Write) => Promise<void> = async () => {},
): Promise<IncomingMessage> {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', (cause) => reject(unavailable(`The transfer broke off: ${cause.message}`, cause)));
    outgoing.once('close', () => reject(unavailable('The transfer broke off')));
  });
  let isOver = false;
  const end = () => {
    isOver = true;
  };
  const over = answered.then(end, end);
  const write: Write = async (bytes) => {
    await Promise.race([new Promise<unknown>((done) => outgoing.write(bytes, done)), over]);
    if (isOver) throw unavailable('The transfer broke off');
  };
  try {
    await sendBody(write);
    outgoing.end();
  } catch (error) {
    if (!isOver) {
      outgoing.destroy();
      throw error;
    }
  }
  return answered;
}

/** The file is read ahead into one buffer while the other is on its way. */
async function sendPart(write: Write, source: ContentSource, from: number, partBytes: number): Promise<void> {
  const buffers = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)] as const;
  let written: Promise<void> = Promise.resolve();
  for (let done = 0, turn = 0; done < partBytes; turn++) {
    const free = buffers[turn % 2 === 0 ? 0 : 1].subarray(0, partBytes - done);
    const size = await source.read(free, from + done);
    if (size === 0) throw badRequest('The file became shorter while it was read');
    await written;
    written = write(free.subarray(0, size));
    // Looked at in the next turn.
    written.catch(() => {});
    done += size;
  }
  await written;
}

/** Content that lies in memory. */
export function sourceOfText(text: string): ContentSource {
  const bytes = Buffer.from(text);
  return {
    sizeBytes: bytes.length,
    read: async (buffer, position) => bytes.copy(buffer, 0, position),
  };
}

/** Exactly `sizeBytes` of an open file, also when it grows meanwhile. */
export const sourceOfFile = (fd: number, sizeBytes: number): ContentSource => ({
  sizeBytes,
  read: async (buffer, position) => (await readFd(fd, buffer, 0, buffer.length, position)).bytesRead,
});
