import { describe, expect, it } from 'vitest';
import { type Away, awayDeadline, judgePresence as judge, type SocketView } from '#worker/objects/presence.ts';

const SILENCE_MS = 15_000;
const judgePresence = (nowMs: number, sockets: SocketView[], away: Map<string, Away>, silenceMs = SILENCE_MS) =>
  judge(nowMs, sockets, away, silenceMs);
const closedAt = (sinceMs: number): Away => ({ sinceMs, deadlineMs: awayDeadline(sinceMs) });
const up = (member: string, lastSeenMs: number): SocketView => ({ member, phase: 'up', lastSeenMs, connectedMs: 0 });

describe('judgePresence', () => {
  it('keeps a member that was heard within 15 s and looks again when that time is over', () => {
    expect(judgePresence(20_000, [up('host1', 10_000)], new Map())).toEqual({ close: [], offline: [], nextMs: 25_000 });
  });

  it('declares a silent member offline after 15 s and closes its socket', () => {
    const judgement = judgePresence(25_000, [up('host1', 10_000)], new Map());
    expect(judgement.close).toEqual([0]);
    expect(judgement.offline).toEqual([{ member: 'host1', reason: 'No heartbeat for 15.0s', sinceMs: 10_000 }]);
  });

  it('waits as long as cluster.offline_threshold says', () => {
    expect(judgePresence(39_999, [up('host1', 10_000)], new Map(), 30_000).offline).toEqual([]);
    const { offline } = judgePresence(40_000, [up('host1', 10_000)], new Map(), 30_000);
    expect(offline).toEqual([{ member: 'host1', reason: 'No heartbeat for 30.0s', sinceMs: 10_000 }]);
  });

  it('does not declare a member offline whose newer socket is alive', () => {
    const judgement = judgePresence(30_000, [up('host1', 10_000), up('host1', 29_000)], new Map());
    expect(judgement.close).toEqual([0]);
    expect(judgement.offline).toEqual([]);
  });

  it('gives a closed link 3 s to come back', () => {
    const away = new Map([['host1', closedAt(10_000)]]);
    expect(judgePresence(12_999, [], away)).toEqual({ close: [], offline: [], nextMs: 13_000 });
    expect(judgePresence(13_000, [], away).offline).toEqual([
      { member: 'host1', reason: 'The link is closed', sinceMs: 10_000 },
    ]);
  });

  it('forgets the closed link of a member that is back', () => {
    const judgement = judgePresence(13_000, [up('host1', 12_000)], new Map([['host1', closedAt(10_000)]]));
    expect(judgement.offline).toEqual([]);
  });

  it('closes a socket that never said hello, and nobody is offline for it', () => {
    const pending: SocketView = { member: 'host1', phase: 'challenge', lastSeenMs: 0, connectedMs: 0 };
    expect(judgePresence(10_000, [pending], new Map())).toEqual({ close: [0], offline: [], nextMs: null });
  });

  it('waits for nothing when there is nobody', () => {
    expect(judgePresence(0, [], new Map()).nextMs).toBeNull();
  });
});
