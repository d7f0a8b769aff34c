/** The events socket of a host on its own: operations and lifecycle of its instances, as they happen. */
import { WebSocket } from 'ws';

export interface LocalEvent {
  type: 'operation' | 'lifecycle';
  timestamp: string;
  location: string;
  project: string;
  metadata: object;
}

export interface EventHub {
  publish(event: LocalEvent): void;
  /** Null: all types, all projects. */
  listen(socket: WebSocket, filter: { types: string[] | null; project: string | null }): void;
  /** Ends every listener: the events are somewhere else now. */
  close(): void;
}

export function createEventHub(): EventHub {
  const listeners = new Map<WebSocket, { types: string[] | null; project: string | null }>();
  return {
    publish: (event) => {
      const text = JSON.stringify(event);
      for (const [socket, { types, project }] of listeners) {
        if (types !== null && !types.includes(event.type)) continue;
        if (project !== null && project !== event.project) continue;
        if (socket.readyState === WebSocket.OPEN) socket.send(text);
      }
    },
    listen: (socket, filter) => {
      listeners.set(socket, filter);
      socket.on('close', () => listeners.delete(socket));
    },
    close: () => {
      for (const socket of listeners.keys()) socket.close();
    },
  };
}
