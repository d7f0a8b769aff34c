import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { AgentFrame, ControlFrame } from '#protocol/frames.ts';
import { METRICS_INTERVAL_MS, METRICS_WANTED_SECONDS } from '#protocol/metrics.ts';
import { METRICS_PROTOCOL } from '#protocol/version.ts';
import { createLinkMetrics } from '#worker/objects/link-metrics.ts';
import type { LinkSocket } from '#worker/objects/link-sockets.ts';
import { figuresOf } from './figures.ts';

type MetricsFrame = Extract<AgentFrame, { type: 'metrics' }>;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const sample = (names: string[], part: Partial<MetricsFrame> = {}): MetricsFrame => ({
  type: 'metrics',
  first: true,
  last: true,
  uptimeSeconds: 60,
  instances: names.map((name) => figuresOf(name)),
  ...part,
});

/** Links of these members; `answers` is what an agent tells when it is asked. */
function open(
  members: Record<string, Partial<LinkSocket['attachment']>>,
  answers: (member: string) => string[] | null,
) {
  const asked: string[] = [];
  const sockets = {
    list: () =>
      Object.entries(members).map(([member, fields]) => ({
        socket: { member } as unknown as WebSocket,
        attachment: { member, phase: 'up', blocked: false, protocol: METRICS_PROTOCOL, ...fields },
      })) as unknown as LinkSocket[],
    send: (socket: WebSocket, frame: ControlFrame) => {
      expect(frame).toEqual({ type: 'metrics', seconds: METRICS_WANTED_SECONDS });
      const member = String(Reflect.get(socket, 'member'));
      asked.push(member);
      const names = answers(member);
      if (names !== null) queueMicrotask(() => metrics.take(member, sample(names)));
    },
  };
  const metrics = createLinkMetrics(sockets);
  const look = async (only: string[] | null = null) => {
    const read = metrics.read(only);
    await vi.advanceTimersByTimeAsync(5_000);
    return Object.fromEntries((await read).map((one) => [one.member, one.instances.map(({ name }) => name)]));
  };
  return { metrics, asked, look };
}

it('asks at the first look and waits for what comes; then answers without asking anybody', async () => {
  const { asked, look } = open({ m1: {}, m2: {} }, (member) => [`on-${member}`]);
  expect(await look()).toEqual({ m1: ['on-m1'], m2: ['on-m2'] });
  expect(await look()).toEqual({ m1: ['on-m1'], m2: ['on-m2'] });
  expect(asked).toEqual(['m1', 'm2']);
});

it('asks again in time, as long as somebody looks', async () => {
  const { metrics, asked, look } = open({ m1: {} }, () => ['c1']);
  for (let elapsed = 0; elapsed < METRICS_WANTED_SECONDS * 1000; elapsed += METRICS_INTERVAL_MS) {
    await look();
    await vi.advanceTimersByTimeAsync(METRICS_INTERVAL_MS - 5_000);
    metrics.take('m1', sample(['c1']));
  }
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.length).toBeLessThan(8);
});

it('waits once, and not long, for a member that stays silent, and does not ask it at every look', async () => {
  const { metrics, asked, look } = open({ m1: {}, m2: {} }, (member) => (member === 'm1' ? ['c1'] : null));
  expect(await look()).toEqual({ m1: ['c1'] });
  // At once: no time goes by here.
  expect((await metrics.read(null)).map(({ member }) => member)).toEqual(['m1']);
  expect(asked.filter((member) => member === 'm2')).toHaveLength(1);
  metrics.take('m2', sample(['c2']));
  expect(await look()).toEqual({ m1: ['c1'], m2: ['c2'] });
});

it('asks nothing of an agent that is too old, blocked or not greeted yet', async () => {
  const { asked, look } = open(
    { old: { protocol: METRICS_PROTOCOL - 1 }, blocked: { blocked: true }, new: { phase: 'challenge' } },
    () => ['c1'],
  );
  expect(await look()).toEqual({});
  expect(asked).toEqual([]);
});

it('looks at the members that are meant', async () => {
  const { asked, look } = open({ m1: {}, m2: {} }, () => ['c1']);
  expect(await look(['m2'])).toEqual({ m2: ['c1'] });
  expect(asked).toEqual(['m2']);
});

it('shows no sample that is old, and none of a member whose link has gone', async () => {
  const { metrics, look } = open({ m1: {} }, () => null);
  metrics.take('m1', sample(['c1']));
  expect(await look()).toEqual({ m1: ['c1'] });
  await vi.advanceTimersByTimeAsync(3 * METRICS_INTERVAL_MS);
  expect(await look()).toEqual({});
  metrics.take('m1', sample(['c1']));
  metrics.drop('m1');
  expect(await look()).toEqual({});
});

it('passes over a sample that never ends, and one whose beginning it has not seen', async () => {
  const { metrics, look } = open({ m1: {} }, () => null);
  metrics.take('m1', sample(['b'], { first: false }));
  expect(await look()).toEqual({});
  metrics.take('m1', sample(['a'], { last: false }));
  for (let count = 0; count < 1_000; count++) metrics.take('m1', sample(['a'], { first: false, last: false }));
  metrics.take('m1', sample(['a'], { first: false }));
  expect(await look()).toEqual({});
  metrics.take('m1', sample(['c']));
  expect(await look()).toEqual({ m1: ['c'] });
});

it('joins the frames of one sample, and takes none before its last', async () => {
  const { metrics, look } = open({ m1: {} }, () => null);
  metrics.take('m1', sample(['a'], { last: false }));
  expect(await look()).toEqual({});
  metrics.take('m1', sample(['b'], { first: false }));
  expect(await look()).toEqual({ m1: ['a', 'b'] });
  metrics.take('m1', sample(['x'], { last: false }));
  metrics.take('m1', sample(['c']));
  expect(await look()).toEqual({ m1: ['c'] });
});
