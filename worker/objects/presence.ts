/** When a member counts as away. Pure: times in ms of the control plane's clock. */
import { RECONNECT_GRACE_MS, SILENCE_LIMIT_MS } from '#protocol/frames.ts';

/** A pending socket that has not said hello by then is closed. */
export const HANDSHAKE_LIMIT_MS = 10_000;

export interface SocketView {
  member: string;
  phase: 'challenge' | 'up' | 'closed';
  /** Last sign of life: heartbeat, frame, or the connection itself. */
  lastSeenMs: number;
  connectedMs: number;
}

export interface Judgement {
  /** Indexes of sockets to close: silent, or without a hello. */
  close: number[];
  /** Members to declare offline now. */
  offline: { member: string; reason: string }[];
  /** When to look again; null when there is nothing to wait for. */
  nextMs: number | null;
}

export const awayDeadline = (closedMs: number) => closedMs + RECONNECT_GRACE_MS;

/** `away`: members whose link is gone, with the time by which it must be back. */
export function judgePresence(
  nowMs: number,
  sockets: readonly SocketView[],
  away: ReadonlyMap<string, number>,
): Judgement {
  const close: number[] = [];
  const offline: Judgement['offline'] = [];
  const deadlines: number[] = [];
  const alive = new Set<string>();
  const silent = new Map<string, number>();
  for (const [index, socket] of sockets.entries()) {
    if (socket.phase === 'closed') continue;
    const limit =
      socket.phase === 'up' ? socket.lastSeenMs + SILENCE_LIMIT_MS : socket.connectedMs + HANDSHAKE_LIMIT_MS;
    if (limit > nowMs) {
      deadlines.push(limit);
      if (socket.phase === 'up') alive.add(socket.member);
      continue;
    }
    close.push(index);
    if (socket.phase === 'up') silent.set(socket.member, nowMs - socket.lastSeenMs);
  }
  for (const [member, forMs] of silent) {
    if (!alive.has(member)) offline.push({ member, reason: `No heartbeat for ${(forMs / 1000).toFixed(1)}s` });
  }
  for (const [member, deadline] of away) {
    if (alive.has(member) || silent.has(member)) continue;
    if (deadline <= nowMs) offline.push({ member, reason: 'The link is closed' });
    else deadlines.push(deadline);
  }
  return { close, offline, nextMs: deadlines.length === 0 ? null : Math.min(...deadlines) };
}
