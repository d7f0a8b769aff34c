import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createMetricsTeller } from '#agent/inventory/metrics.ts';
import { silentLog } from '#agent/log.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import { METRICS_INTERVAL_MS } from '#protocol/metrics.ts';
import { createFakeInstances, createFakeState } from '../fakes/drivers.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function open(metrics?: () => Promise<never[]>) {
  const state = createFakeState();
  state.cleanup();
  const fake = createFakeInstances(state);
  let sweeps = 0;
  const sweep = () => {
    sweeps++;
    return (metrics ?? fake.metrics)();
  };
  const instances = { ...fake, metrics: sweep };
  const sent: AgentFrame[] = [];
  const send = (frame: AgentFrame) => sent.push(frame) > 0;
  const teller = createMetricsTeller({ host: { instances, log: silentLog }, send, uptimeSeconds: () => 7.9 });
  return { teller, sent, sweeps: () => sweeps };
}

it('samples nothing until it is asked to', async () => {
  const { sent } = open();
  await vi.advanceTimersByTimeAsync(10 * METRICS_INTERVAL_MS);
  expect(sent).toEqual([]);
});

it('samples at once, then in its rhythm, and stops when nobody has asked again', async () => {
  const { teller, sent } = open();
  teller.want(60);
  await vi.advanceTimersByTimeAsync(0);
  expect(sent).toEqual([{ type: 'metrics', first: true, last: true, uptimeSeconds: 7, instances: [] }]);
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(sent).toHaveLength(1 + 60_000 / METRICS_INTERVAL_MS);
});

it('goes on when it is asked again', async () => {
  const { teller, sent } = open();
  for (let minute = 0; minute < 5; minute++) {
    teller.want(60);
    await vi.advanceTimersByTimeAsync(60_000 - 1);
  }
  expect(sent.length).toBeGreaterThanOrEqual(5 * 4);
});

it('begins no sweep while one has not ended', async () => {
  const { teller, sent, sweeps } = open(() => new Promise(() => {}));
  teller.want(60);
  teller.want(60);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sweeps()).toBe(1);
  expect(sent).toEqual([]);
});

it('takes up again after a sweep that failed, and stops for good', async () => {
  let fails = true;
  const { teller, sent } = open(async () => {
    if (fails) throw new Error('EIO');
    return [];
  });
  teller.want(600);
  await vi.advanceTimersByTimeAsync(0);
  expect(sent).toHaveLength(0);
  fails = false;
  await vi.advanceTimersByTimeAsync(METRICS_INTERVAL_MS);
  expect(sent).toHaveLength(1);
  teller.stop();
  await vi.advanceTimersByTimeAsync(METRICS_INTERVAL_MS * 3);
  expect(sent).toHaveLength(1);
});
