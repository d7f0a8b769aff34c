/**
 * Upgrades to SFTP: the client's connection carries that protocol as it is, and the worker's runtime can only upgrade to
 * websockets. So the worker is asked for one, and what either side sends goes to the other as its messages' content.
 */
import type { Socket } from 'node:net';
import { type Duplex, pipeline } from 'node:stream';
import { createWebSocketStream, WebSocket } from 'ws';
import { passingHeaders, renderHead } from './headers.ts';

/** What clients name in `Upgrade`. */
export const RAW_PROTOCOL = 'sftp';

export interface RawUpgrade {
  path: string;
  /** Raw, and with what tells the worker who the client is. */
  headers: readonly string[];
  connect(): Socket;
}

/** Joins the two once the worker agrees; any other answer is passed on and ends the connection. */
export function carryRaw({ path, headers, connect }: RawUpgrade, client: Duplex, head: Buffer): void {
  client.on('error', () => client.destroy());
  const worker = new WebSocket(`ws://worker${path}`, {
    createConnection: connect,
    headers: toObject(headers),
    perMessageDeflate: false,
  });
  client.once('close', () => worker.terminate());
  worker.once('unexpected-response', (_request, answer) => {
    const kept = [...passingHeaders(answer.rawHeaders), 'connection', 'close'];
    client.write(renderHead(`HTTP/1.1 ${answer.statusCode ?? 502} ${answer.statusMessage ?? ''}`, kept));
    pipeline(answer, client, () => client.destroy());
  });
  worker.on('error', () => client.destroy());
  worker.once('open', () => {
    const switched = ['connection', 'Upgrade', 'upgrade', RAW_PROTOCOL];
    client.write(renderHead('HTTP/1.1 101 Switching Protocols', switched));
    const messages = createWebSocketStream(worker);
    if (head.length > 0) messages.write(head);
    messages.once('error', () => client.destroy());
    // All that came from the worker is on its way then.
    client.once('finish', () => client.destroy());
    client.pipe(messages).pipe(client);
  });
}

/** Of a header that was sent twice the last one counts, as for the handshake itself. */
function toObject(raw: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase();
    // The handshake has its own of these.
    if (!name.startsWith('sec-websocket-')) headers[name] = raw[at + 1] ?? '';
  }
  return headers;
}
