/** When a member counts as away. Pure: times in ms of the control plane's clock. */
import { RECONNECT_GRACE_MS } from '#protocol/frames.ts';

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
  offline: { member: string; reason: string; sinceMs: number }[];
  /** When to look again; null when there is nothing to wait for. */
  nextMs: number | null;
}

/** A link that is gone: since when, and by when it must be back. */
export interface Away {
  sinceMs: number;
  deadlineMs: number;
}

export const awayDeadline = (closedMs: number) => closedMs + RECONNECT_GRACE_MS;

/** `away`: members whose link is gone. `silenceMs`: how long a link may say nothing. */
export function judgePresence(
  nowMs: number,
  sockets: readonly SocketView[],
  away: ReadonlyMap<string, Away>,
  silenceMs: number,
): Judgement {
  const close: number[] = [];
  const offline: Judgement['offline'] = [];
  const deadlines: number[] = [];
  const alive = new Set<string>();
  const silent = new Map<string, number>();
  for (const [index, socket] of sockets.entries()) {
    if (socket.phase === 'closed') continue;
    const limit = socket.phase === 'up' ? socket.lastSeenMs + silenceMs : socket.connectedMs + HANDSHAKE_LIMIT_MS;
    if (limit > nowMs) {
      deadlines.push(limit);
      if (socket.phase === 'up') alive.add(socket.member);
      continue;
    }
    close.push(index);
    if (socket.phase === 'up') silent.set(socket.member, socket.lastSeenMs);
  }
  for (const [member, sinceMs] of silent) {
    const reason = `No heartbeat for ${((nowMs - sinceMs) / 1000).toFixed(1)}s`;
    if (!alive.has(member)) offline.push({ member, reason, sinceMs });
  }
  for (const [member, { sinceMs, deadlineMs }] of away) {
    if (alive.has(member) || silent.has(member)) continue;
    if (deadlineMs <= nowMs) offline.push({ member, reason: 'The link is closed', sinceMs });
    else deadlines.push(deadlineMs);
  }
  return { close, offline, nextMs: deadlines.length === 0 ? null : Math.min(...deadlines) };
}
