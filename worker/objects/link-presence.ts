/**
 * Who of a shard's members is away, and since when. Judged at the alarm by the control plane's clock alone; what is known here
 * is only a cache: after a start, members that libSQL calls online but that have no link get time to come back.
 */
import { SILENCE_LIMIT_MS } from '#protocol/frames.ts';
import { isBlocked } from '#worker/domain/member.ts';
import type { Logger } from '#worker/lib/log.ts';
import { cancelWaiting } from '#worker/state/commands.ts';
import { readSilenceMs } from '#worker/state/config.ts';
import type { Db } from '#worker/state/db.ts';
import type { Followup } from '#worker/state/followup.ts';
import { listMembers, setOffline } from '#worker/state/members.ts';
import { listCancelling } from '#worker/state/operations.ts';
import { CLOSE_SILENT, type LinkSockets } from './link-sockets.ts';
import { type Away, awayDeadline, judgePresence } from './presence.ts';

export interface PresenceDeps {
  db: Db;
  log: Logger;
  sockets: LinkSockets;
  /** True for members of this shard. */
  isMine(member: string): boolean;
  follow(followup: Followup): Promise<void>;
  wakeAt(timeMs: number): Promise<void>;
}

export interface Presence {
  /** `cluster.offline_threshold`, as it was when last looked. */
  silenceMs(): number;
  /** The member's link is gone, or is about to come: unless it is there soon, the member is offline. */
  await(member: string): Promise<void>;
  /** It is there, or nobody of that name is expected any more. */
  settle(member: string): void;
  /** Closes silent sockets, declares members offline, and asks to be called again in time. */
  judge(): Promise<void>;
}

export function createPresence({ db, log, sockets, isMine, follow, wakeAt }: PresenceDeps): Presence {
  const away = new Map<string, Away>();
  let silenceMs = SILENCE_LIMIT_MS;
  let reconciled = false;

  const reconcile = async () => {
    const now = Date.now();
    for (const member of await listMembers(db)) {
      const isHere = member.online || isBlocked(member);
      const hasLink = sockets.up(member.name) !== undefined || away.has(member.name);
      if (!isMine(member.name) || !isHere || hasLink) continue;
      away.set(member.name, { sinceMs: now, deadlineMs: now + silenceMs });
    }
    reconciled = true;
  };

  const declareOffline = async (member: string, reason: string, sinceMs: number) => {
    log.warn('member.offline', { member, reason });
    const [since, now] = [new Date(sinceMs).toISOString(), new Date().toISOString()];
    await follow(await setOffline(db, { member, reason, since, now }));
    away.delete(member);
    // Nobody is left to answer a cancel: the operation ends, and the member deletes what it has made when it returns.
    for (const id of await listCancelling(db, member)) {
      await follow(await cancelWaiting(db, id, new Date().toISOString()));
    }
  };

  return {
    silenceMs: () => silenceMs,
    await: async (member) => {
      const sinceMs = Date.now();
      const deadlineMs = awayDeadline(sinceMs);
      away.set(member, { sinceMs, deadlineMs });
      await wakeAt(deadlineMs);
    },
    settle: (member) => void away.delete(member),
    judge: async () => {
      silenceMs = await readSilenceMs(db);
      if (!reconciled) await reconcile();
      const list = sockets.list();
      const views = list.map(({ view }) => view);
      const judgement = judgePresence(Date.now(), views, away, silenceMs);
      for (const index of judgement.close) {
        const entry = list[index];
        if (entry !== undefined) sockets.drop(entry.socket, CLOSE_SILENT, 'silent');
      }
      for (const { member, reason, sinceMs } of judgement.offline) await declareOffline(member, reason, sinceMs);
      if (judgement.nextMs !== null) await wakeAt(judgement.nextMs);
    },
  };
}
