/** The control plane's end of links and streams: a real websocket server on loopback that the test speaks for. */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from '#protocol/frames.ts';

export interface Peer {
  socket: WebSocket;
  request: IncomingMessage;
  /** JSON frames that came, in order. */
  frames: Record<string, unknown>[];
  /** Binary messages that came. */
  binary: Buffer[];
  send(frame: unknown): void;
}

export interface FakeControlPlane {
  address: string;
  server: Server;
  peers: Peer[];
  close(): Promise<void>;
}

export async function startControlPlane(onPeer: (peer: Peer) => void = () => {}): Promise<FakeControlPlane> {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const peers: Peer[] = [];
  sockets.on('connection', (socket, request) => {
    const peer: Peer = {
      socket,
      request,
      frames: [],
      binary: [],
      send: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    };
    socket.on('message', (data, isBinary) => {
      const bytes = Buffer.isBuffer(data) ? data : Buffer.from(data.toString());
      if (isBinary) peer.binary.push(bytes);
      else if (bytes.toString() === HEARTBEAT_REQUEST) socket.send(HEARTBEAT_RESPONSE);
      else peer.frames.push(JSON.parse(bytes.toString()));
    });
    peers.push(peer);
    onPeer(peer);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    server,
    peers,
    close: async () => {
      for (const { socket } of peers) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
