/**
 * Kept events for a listener that was away. What happens meanwhile is held back until it has got them, so that it sees
 * each event once and in order; a replay that fails closes the socket, and the client comes again from where it was.
 */
import type { Logger } from '#worker/lib/log.ts';
import type { ClusterEvent, EventFilter } from './contract.ts';
import { passes } from './event-filter.ts';
import { quietly } from './quietly.ts';

/** What it needs of a websocket. */
export interface ReplaySocket {
  send(text: string): void;
  close(code: number, reason: string): void;
}

export interface Replays {
  /** Sends now, or after the replay that the socket is in. */
  send(socket: ReplaySocket, event: ClusterEvent, text: string): void;
  /** Sends kept events after `since`, then what came meanwhile. */
  run(socket: ReplaySocket, filter: EventFilter & { since: number }): Promise<void>;
}

type Read = (query: { project: string | null; afterSeq: number; limit: number }) => Promise<ClusterEvent[]>;

const PAGE = 500;
/** Try again later, as Cloudflare's own restarts say it. */
const CLOSE_CODE = 1012;

export function createReplays(read: Read, log: Logger): Replays {
  const held = new Map<ReplaySocket, { event: ClusterEvent; text: string }[]>();
  // An event may be read here before the one who wrote it has published it.
  const sentUpTo = new WeakMap<ReplaySocket, number>();

  const send: Replays['send'] = (socket, event, text) => {
    const queue = held.get(socket);
    if (queue !== undefined) queue.push({ event, text });
    else if (event.id === undefined || event.id > (sentUpTo.get(socket) ?? 0)) quietly(() => socket.send(text));
  };

  return {
    send,
    async run(socket, filter) {
      held.set(socket, []);
      let last = filter.since;
      try {
        for (let full = true; full; ) {
          const events = await read({ project: filter.project, afterSeq: last, limit: PAGE });
          for (const event of events) {
            last = event.id ?? last;
            if (passes(filter, event)) quietly(() => socket.send(JSON.stringify(event)));
          }
          full = events.length === PAGE;
        }
      } catch (error) {
        log.warn('events.replay.failed', {}, error);
        held.delete(socket);
        quietly(() => socket.close(CLOSE_CODE, 'Cannot read the kept events'));
        return;
      }
      const queue = held.get(socket) ?? [];
      held.delete(socket);
      sentUpTo.set(socket, last);
      for (const { event, text } of queue) send(socket, event, text);
    },
  };
}
