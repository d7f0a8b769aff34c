/**
 * This host's side of the stream of a moving instance (`protocol/stream.ts`): plain HTTP to the control plane, whose bodies
 * have back-pressure from the other host's disk to this one's.
 */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { type AppError, fromWireError, toWireError, unavailable, WireError } from '#protocol/errors.ts';
import { BLOCK_LIMIT_BYTES, type FileOutcome, LAST_PART_HEADER, PART_BYTES } from '#protocol/stream.ts';
import { ServerAgent, type Trust } from '../link/dial.ts';
import type { Session } from '../link/link.ts';
import { decodeBlocks, END_OF_BLOCKS, encodeBlocks } from './blocks.ts';

/** Half-open connections are found, and middleboxes see traffic, while the other side stops an instance. */
const KEEPALIVE_MS = 20_000;

export interface RelayDeps {
  trust: Trust;
  /** Waits for the link; rejects with `unavailable`. */
  session(signal?: AbortSignal): Promise<Session>;
}

export interface RelayStream {
  /** Resolves when the target listens. Throws why it never will. */
  awaitTarget(signal: AbortSignal): Promise<void>;
  /**
   * Sends all of `content` and then its end; before that it calls `beforeEnd`: until then the other side cannot have all of
   * it, afterwards it may. `onSent` hears how many bytes have been given away.
   */
  send(
    content: Readable,
    options: { signal: AbortSignal; beforeEnd(): void; onSent(bytes: number): void },
  ): Promise<void>;
  /** What the source sends; it ends with an error unless it is whole. */
  receive(signal: AbortSignal): Promise<Readable>;
  /** Tells the other side why this one gives up. Answers the first reason, which may be the other's. */
  giveUp(error: unknown): Promise<unknown>;
}

interface Part {
  readonly bytes: number;
  /** Resolves when more may be written. Throws what the control plane refuses. */
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
  destroy(): void;
}

export function createRelayStream(deps: RelayDeps, streamId: string): RelayStream {
  async function open(
    method: string,
    what: string,
    { headers = {}, signal }: { headers?: Record<string, string | number>; signal?: AbortSignal },
  ): Promise<ClientRequest> {
    const { address, token } = await deps.session(signal);
    const outgoing = request({
      agent: new ServerAgent(address, deps.trust),
      host: address.host,
      port: address.port,
      method,
      path: `/agent/stream/${encodeURIComponent(streamId)}/${what}`,
      headers: { host: address.authority, authorization: `Bearer ${token}`, ...headers },
      ...(signal === undefined ? {} : { signal }),
    });
    outgoing.setSocketKeepAlive(true, KEEPALIVE_MS);
    return outgoing;
  }

  async function ask(what: string, expected: number, signal: AbortSignal): Promise<IncomingMessage> {
    const outgoing = await open('GET', what, { signal });
    outgoing.end();
    const answer = await answerTo(outgoing);
    if (answer.statusCode !== expected) throw await refusalIn(answer);
    return answer;
  }

  async function openPart(signal: AbortSignal, headers: Record<string, string>): Promise<Part> {
    const outgoing = await open('PUT', 'content', { headers: { ...headers, 'transfer-encoding': 'chunked' }, signal });
    const answer = answerTo(outgoing);
    let isOver = false;
    const end = () => {
      isOver = true;
    };
    const over = answer.then(end, end);
    let bytes = 0;
    return {
      get bytes() {
        return bytes;
      },
      write: async (block) => {
        bytes += block.length;
        if (!outgoing.write(block)) await Promise.race([once(outgoing, 'drain').catch(() => {}), over]);
        if (isOver) throw await refusalIn(await answer);
      },
      end: async () => {
        outgoing.end();
        const answered = await answer;
        if (answered.statusCode !== 204) throw await refusalIn(answered);
        await finished(answered.resume());
      },
      destroy: () => void outgoing.destroy(),
    };
  }

  async function sendParts(content: Readable, signal: AbortSignal, onSent: (bytes: number) => void): Promise<void> {
    let part: Part | null = null;
    try {
      for await (const chunk of content) {
        part ??= await openPart(signal, {});
        await part.write(encodeBlocks(chunk));
        onSent(chunk.length);
        if (part.bytes < PART_BYTES - BLOCK_LIMIT_BYTES) continue;
        await part.end();
        part = null;
      }
      await part?.end();
    } catch (error) {
      part?.destroy();
      throw error;
    }
  }

  return {
    awaitTarget: async (signal) => {
      await finished((await ask('peer', 204, signal)).resume());
    },
    send: async (content, { signal, beforeEnd, onSent }) => {
      await sendParts(content, signal, onSent);
      beforeEnd();
      const last = await openPart(signal, { [LAST_PART_HEADER]: '1' });
      await last.write(END_OF_BLOCKS);
      await last.end();
    },
    receive: async (signal) => Readable.from(decodeBlocks(readable(await ask('content', 200, signal)))),
    giveUp: async (error) => {
      try {
        const body = Buffer.from(JSON.stringify({ error: toWireError(error) } satisfies FileOutcome));
        const headers = { 'content-type': 'application/json', 'content-length': body.length };
        const outgoing = await open('POST', 'outcome', { headers });
        outgoing.end(body);
        const answer = await answerTo(outgoing);
        if (answer.statusCode !== 204) return await refusalIn(answer);
        answer.resume();
      } catch {
        // The control plane is away: then nobody waits for a reason either.
      }
      return error;
    },
  };
}

/** Rejects with `unavailable` when there will be none. */
function answerTo(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.on('error', (cause) => reject(brokeOff(cause)));
    outgoing.once('close', () => reject(brokeOff()));
  });
}

const brokeOff = (cause?: unknown) => unavailable('The transfer broke off', cause);

/** Once content flows it goes on flowing: a source that died in the middle may leave nothing but silence. */
const SILENCE_LIMIT_MS = 30_000;

/** The body, breaking with an error of ours. */
async function* readable(answer: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of answer) {
      answer.setTimeout(SILENCE_LIMIT_MS, () => answer.destroy(brokeOff()));
      yield chunk;
    }
  } catch (error) {
    throw brokeOff(error);
  }
}

/** Far more than the text of an error. */
const REFUSAL_LIMIT_BYTES = 64 * 1024;

async function refusalIn(answer: IncomingMessage): Promise<AppError> {
  let text = '';
  try {
    for await (const chunk of answer) {
      text += String(chunk);
      if (text.length > REFUSAL_LIMIT_BYTES) break;
    }
    const body: unknown = JSON.parse(text);
    const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : null;
    return fromWireError(WireError.parse(error));
  } catch (error) {
    return brokeOff(error);
  }
}
