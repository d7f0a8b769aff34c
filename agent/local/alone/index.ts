/**
 * The LXD API of one host on its own: while the control plane cannot be reached, the local socket goes on serving this host's
 * instances, by the same executors, drivers and turns as commands.
 *
 * Invariants. Nothing here is desired state: configuration is the control plane's alone. What changes is told as soon as it
 * can be, by inventory and by kept events. An operation that began here is answered here, also when the link is back.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { AppError, notFound } from '#protocol/errors.ts';
import { errorBody, notHere, sendError, statusOfError } from './answers.ts';
import type { AloneDeps } from './deps.ts';
import { createEventHub } from './events.ts';
import { createExecs } from './exec.ts';
import { instanceUrl } from './instances.ts';
import { createOperations } from './operations.ts';
import { readTarget } from './requests.ts';
import { type Api, serve } from './routes.ts';

export interface Alone {
  /** True for what began here and must be answered here. */
  owns(incoming: IncomingMessage): boolean;
  handle(incoming: IncomingMessage, outgoing: ServerResponse): void;
  upgrade(incoming: IncomingMessage, client: Duplex, head: Buffer): void;
  /** The control plane is back: who listens for events must listen to its. */
  leave(): void;
}

export function createAlone(given: AloneDeps): Alone {
  const { member } = given;
  const { log } = given.host;
  const hub = createEventHub();
  const deps: AloneDeps = {
    ...given,
    keepEvent: (event) => {
      const { action, project, context } = event;
      const metadata = { action, source: instanceUrl(event).replace(/\?.*/, ''), ...(context ? { context } : {}) };
      const timestamp = new Date().toISOString();
      hub.publish({ type: 'lifecycle', timestamp, location: member, project, metadata });
      given.keepEvent(event);
    },
  };
  const operations = createOperations({ location: member, publish: hub.publish });
  const api: Api = { deps, operations, execs: createExecs(deps, operations) };
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  const operationOf = (incoming: IncomingMessage) =>
    operations.find(/^\/1\.0\/operations\/([^/?]+)/.exec(incoming.url ?? '')?.[1] ?? '');

  /** What to do with the socket once it is open. Throws the refusal. */
  const acceptorOf = (incoming: IncomingMessage): ((socket: WebSocket) => void) => {
    const { path, query, project } = readTarget(incoming);
    if (path === '/1.0/events') {
      const types = query.get('type')?.split(',') ?? null;
      return (socket) => hub.listen(socket, { types, project });
    }
    if (!path.endsWith('/websocket') || operationOf(incoming) === null) throw notHere();
    const stream = api.execs.findStream(operationOf(incoming)?.id ?? '');
    if (stream === null) throw notFound('Operation');
    const fd = stream.claim(query.get('secret') ?? '');
    if (fd === null) throw new AppError('forbidden', 'not authorized');
    return (socket) => stream.connect(fd, socket);
  };

  return {
    owns: (incoming) => operationOf(incoming) !== null,
    handle: (incoming, outgoing) => {
      serve(api, incoming, outgoing).catch((err) => {
        if (!(err instanceof AppError)) log.error('local.alone.failed', { err });
        sendError(outgoing, err);
      });
    },
    upgrade: (incoming, client, head) => {
      try {
        const accept = acceptorOf(incoming);
        sockets.handleUpgrade(incoming, client, head, accept);
      } catch (error) {
        client.end(rawError(error));
      }
    },
    leave: () => operations.whenIdle(hub.close),
  };
}

function rawError(error: unknown): string {
  const body = JSON.stringify(errorBody(error));
  const headers = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  return `HTTP/1.1 ${statusOfError(error)} Refused\r\n${headers}\r\n\r\n${body}`;
}
