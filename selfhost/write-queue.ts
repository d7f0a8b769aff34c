/**
 * Writes reach the database one at a time. SQLite has one writer anyway, and sqld 0.24 can lose its lock for good when writers wait
 * for it while a checkpoint runs; here they wait in a line that whoever gives up leaves.
 */

import { rm } from 'node:fs/promises';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { passingHeaders } from './headers.ts';

export interface WriteQueue {
  close(): Promise<void>;
}

/** More than any write of ours; the Worker's own limit is lower. */
const TURN_LIMIT_MS = 10_000;
const BODY_LIMIT_BYTES = 16 * 1024 * 1024;

/** Serves on the unix socket `path` and passes each request to the database on that port of loopback. */
export async function startWriteQueue(path: string, port: number): Promise<WriteQueue> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let line: Promise<void> = Promise.resolve();
  const enqueue = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // Before the turn: that is for the database, not for whoever sends slowly.
    const body = await readBody(request);
    if (body === null) {
      response.writeHead(413).end();
      return;
    }
    const turn = line.then(() => (response.destroyed ? undefined : pass({ agent, port }, request, body, response)));
    // Whatever becomes of one, the next has its turn.
    line = turn.catch(() => void response.destroy());
  };
  const server = http.createServer((request, response) => void enqueue(request, response));
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

/** Null when it is too large, or was not sent to its end. */
async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request) {
      size += chunk.length;
      if (size <= BODY_LIMIT_BYTES) chunks.push(chunk);
    }
  } catch {
    return null;
  }
  return size <= BODY_LIMIT_BYTES ? Buffer.concat(chunks) : null;
}

/** Resolves when the answer has been passed on, or there will be none; never rejects. */
function pass(
  { agent, port }: { agent: http.Agent; port: number },
  { method, url, rawHeaders }: IncomingMessage,
  body: Buffer,
  response: ServerResponse,
): Promise<void> {
  return new Promise((resolve) => {
    const out = http.request({
      agent,
      ...{ host: '127.0.0.1', port, method: method ?? 'POST', path: url ?? '/', timeout: TURN_LIMIT_MS },
      setHost: false,
      headers: [...passingHeaders(rawHeaders, 'content-length'), 'content-length', String(body.length)],
    });
    // Whoever gave up takes its statement along, if it has not been carried out.
    response.once('close', () => {
      if (!response.writableFinished) out.destroy();
      resolve();
    });
    out.once('timeout', () => out.destroy());
    out.once('error', () => {
      // As the runtime says of a connection that broke.
      if (response.headersSent) response.destroy();
      else response.writeHead(503, { 'retry-after': '1' }).end();
    });
    out.once('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, passingHeaders(answer.rawHeaders));
      answer.pipe(response);
    });
    out.end(body);
  });
}
