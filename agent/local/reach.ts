/**
 * Whether this host is on its own: it is when it has had no link for longer than one takes to be replaced, and until the next
 * one. The host's own clock of steady time decides, no time of day.
 */
import { unavailable } from '#protocol/errors.ts';
import type { Link, Session } from '../link/link.ts';

/** A link that is just being replaced returns within this time. */
const GRACE_MS = 3_000;

export interface Reach {
  /** The session. Rejects with `unavailable` when the host is on its own: at once when it is already. */
  session(): Promise<Session>;
  /** Calls back each time the host comes to be on its own; returns the way to end it. */
  onAlone(listener: () => void): () => void;
  noteUp(): void;
  noteDown(): void;
  stop(): void;
}

/** A host starts without a link. */
export function createReach(link: Pick<Link, 'session' | 'whenUp'>, graceMs: number = GRACE_MS): Reach {
  const listeners = new Set<() => void>();
  let aloneAtMs = performance.now() + graceMs;
  let timer: NodeJS.Timeout | undefined;
  return {
    session: async () => {
      const session = link.session();
      if (session !== null) return session;
      const leftMs = aloneAtMs - performance.now();
      if (leftMs <= 0) throw unavailable('No connection to the control plane');
      return link.whenUp(leftMs);
    },
    onAlone: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    noteUp: () => clearTimeout(timer),
    noteDown: () => {
      aloneAtMs = performance.now() + graceMs;
      clearTimeout(timer);
      timer = setTimeout(() => {
        for (const listener of [...listeners]) listener();
      }, graceMs);
      timer.unref();
    },
    stop: () => clearTimeout(timer),
  };
}
