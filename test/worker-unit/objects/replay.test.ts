import { describe, expect, it } from 'vitest';
import { createLogger } from '#worker/lib/log.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import { createReplays } from '#worker/objects/replay.ts';

const event = (id: number, project?: string): ClusterEvent => ({
  type: 'lifecycle',
  id,
  timestamp: '2026-11-21T10:00:00.000Z',
  location: 'm1',
  ...(project === undefined ? {} : { project }),
  metadata: { action: `e${id}` },
});
const log = createLogger('error', {}, () => {});
const ALL = { types: null, project: null, admin: true };

function newSocket() {
  const got: number[] = [];
  const closed: number[] = [];
  return {
    got,
    closed,
    send: (text: string) => void got.push(JSON.parse(text).id),
    close: (code: number) => void closed.push(code),
  };
}

describe('a replay', () => {
  it('sends what was kept, page by page, before what happens meanwhile, and nothing twice', async () => {
    const socket = newSocket();
    const replays = createReplays(async ({ afterSeq, limit }) => {
      // Written and read, but its writer publishes it only now and again after the replay.
      replays.send(socket, event(1200), JSON.stringify(event(1200)));
      replays.send(socket, event(1201), JSON.stringify(event(1201)));
      return Array.from({ length: Math.min(limit, 1200 - afterSeq) }, (_, index) => event(afterSeq + index + 1));
    }, log);
    await replays.run(socket, { ...ALL, since: 10 });
    replays.send(socket, event(1199), JSON.stringify(event(1199)));
    replays.send(socket, event(1202), JSON.stringify(event(1202)));
    const after = socket.got.slice(1190);
    expect(socket.got.slice(0, 1190)).toEqual(Array.from({ length: 1190 }, (_, index) => index + 11));
    expect(after.filter((id) => id === 1200)).toEqual([]);
    expect(new Set(after)).toEqual(new Set([1201, 1202]));
  });

  it('shows only what the listener may see and asked for', async () => {
    const socket = newSocket();
    const replays = createReplays(async () => [event(1, 'p1'), event(2, 'p2'), event(3)], log);
    await replays.run(socket, { types: null, project: 'p1', admin: false, since: 0 });
    expect(socket.got).toEqual([1, 3]);
    const other = newSocket();
    await replays.run(other, { ...ALL, types: ['operation'], since: 0 });
    expect(other.got).toEqual([]);
  });

  it('closes the socket when kept events cannot be read, so that the client comes again', async () => {
    const socket = newSocket();
    const replays = createReplays(() => Promise.reject(new Error('away')), log);
    await replays.run(socket, { ...ALL, since: 0 });
    expect(socket).toMatchObject({ got: [], closed: [1012] });
  });
});
