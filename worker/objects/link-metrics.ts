/**
 * Samples that agents told, kept in memory alone. Agents sample only while they are asked to: the first look after a pause
 * asks, and waits a moment for what comes; every later one is answered with what has come meanwhile, and asks nobody.
 */
import type { AgentFrame } from '#protocol/frames.ts';
import { METRICS_INTERVAL_MS, METRICS_WANTED_SECONDS } from '#protocol/metrics.ts';
import { METRICS_PROTOCOL } from '#protocol/version.ts';
import type { LinkSockets } from './link-sockets.ts';
import type { MemberMetrics } from './member-metrics.ts';
import { quietly } from './quietly.ts';

/** A member that has missed two samples has none. */
const FRESH_MS = 3 * METRICS_INTERVAL_MS;
/** Asked again well before the agents would stop. */
const RENEW_MS = (METRICS_WANTED_SECONDS * 1000) / 5;
/** One whose sample does not come is not asked at every look. */
const REPEAT_MS = 10_000;
/** A sweep over hundreds of instances takes some 100 ms, and the line is long. */
const FIRST_SAMPLE_MS = 2_000;

/** More than a host of 10,000 instances needs; an agent must not fill the memory that all share. */
const FRAMES_PER_SAMPLE = 32;

type MetricsFrame = Extract<AgentFrame, { type: 'metrics' }>;

export interface LinkMetrics {
  take(member: string, frame: MetricsFrame): void;
  /** Fresh samples of the members with a link; `members` null: all. */
  read(members: readonly string[] | null): Promise<MemberMetrics[]>;
  /** The member's link is gone, or it is no member any more. */
  drop(member: string): void;
}

export function createLinkMetrics(sockets: Pick<LinkSockets, 'list' | 'send'>, nowMs = Date.now): LinkMetrics {
  const samples = new Map<string, MemberMetrics>();
  const coming = new Map<string, { frames: number; instances: MetricsFrame['instances'] }>();
  const askedMs = new Map<string, number>();
  const waiting = new Set<{ member: string; wake(): void }>();
  /** Waited for in vain: they hold up nobody again before they have told something. */
  const silent = new Set<string>();

  const wake = (member: string) => {
    for (const one of [...waiting]) if (one.member === member) one.wake();
  };
  const isFresh = (member: string) => (samples.get(member)?.toldMs ?? Number.NEGATIVE_INFINITY) + FRESH_MS > nowMs();

  const arrival = (member: string): Promise<void> =>
    new Promise((resolve) => {
      const one = {
        member,
        wake: () => {
          clearTimeout(timer);
          waiting.delete(one);
          resolve();
        },
      };
      const timer = setTimeout(() => {
        silent.add(member);
        one.wake();
      }, FIRST_SAMPLE_MS);
      waiting.add(one);
    });

  return {
    take: (member, { first, last, uptimeSeconds, instances }) => {
      const before = first ? { frames: 0, instances: [] } : coming.get(member);
      coming.delete(member);
      // One that has become too long is passed over to its end.
      if (before === undefined || before.frames >= FRAMES_PER_SAMPLE) return;
      const all = [...before.instances, ...instances];
      if (!last) return void coming.set(member, { frames: before.frames + 1, instances: all });
      silent.delete(member);
      samples.set(member, { member, toldMs: nowMs(), uptimeSeconds, instances: all });
      wake(member);
    },
    read: async (members) => {
      const able = sockets
        .list()
        .filter(({ attachment: { member, phase, blocked, protocol } }) => {
          if (phase !== 'up' || blocked || protocol < METRICS_PROTOCOL) return false;
          return members === null || members.includes(member);
        })
        .map(({ socket, attachment: { member } }) => ({ socket, member }));
      for (const { socket, member } of able) {
        const sinceMs = nowMs() - (askedMs.get(member) ?? Number.NEGATIVE_INFINITY);
        if (sinceMs < (isFresh(member) ? RENEW_MS : REPEAT_MS)) continue;
        askedMs.set(member, nowMs());
        quietly(() => sockets.send(socket, { type: 'metrics', seconds: METRICS_WANTED_SECONDS }));
      }
      const missing = able.filter(({ member }) => !isFresh(member) && !silent.has(member));
      await Promise.all(missing.map(({ member }) => arrival(member)));
      return able.flatMap(({ member }) => {
        const sample = samples.get(member);
        return sample !== undefined && isFresh(member) ? [sample] : [];
      });
    },
    drop: (member) => {
      for (const known of [samples, coming, askedMs, silent]) known.delete(member);
      wake(member);
    },
  };
}
