import { describe, expect, it } from 'vitest';
import { parseMetrics } from '#test/harness/metrics-text.ts';
import { controlMetrics } from '#worker/domain/cluster-metrics.ts';
import { addTimes, createCommandClock, TIME_BUCKETS } from '#worker/domain/command-times.ts';
import { renderMetrics } from '#worker/domain/exposition.ts';

const timed = (seconds: readonly number[], ok = true) => {
  const clock = createCommandClock();
  for (const one of seconds) clock.note('instance.create', ok, one);
  return clock.read();
};

describe('times of commands', () => {
  it('are counted in every bucket that they fit into, by kind and outcome', () => {
    const [times, ...others] = timed([0.05, 0.3, 3_600]);
    expect(others).toEqual([]);
    expect(times).toMatchObject({ command: 'instance.create', ok: true, count: 3 });
    expect(times?.sumSeconds).toBeCloseTo(3_600.35);
    expect(times?.buckets).toEqual(TIME_BUCKETS.map((bound) => (bound >= 0.5 ? 2 : 1)));
  });

  it('of several objects are added up, each kind by itself', () => {
    const sum = addTimes([...timed([1, 2]), ...timed([1], false), ...timed([4])]);
    expect(sum.map(({ ok, count, sumSeconds }) => ({ ok, count, sumSeconds }))).toEqual([
      { ok: true, count: 3, sumSeconds: 7 },
      { ok: false, count: 1, sumSeconds: 1 },
    ]);
    expect(sum[0]?.buckets.at(-1)).toBe(3);
  });

  it('do not go back when a clock does', () => {
    expect(timed([-5])[0]).toMatchObject({ count: 1, sumSeconds: 0 });
  });

  it('are a histogram that Prometheus can read: buckets grow, the last holds all', () => {
    const [times] = timed([0.2, 7, 1_000]);
    const histogram = {
      labels: { command: 'c' },
      bounds: TIME_BUCKETS,
      buckets: times?.buckets ?? [],
      count: 3,
      sum: 1_007.2,
    };
    const nothing = { members: [], instances: [], operations: [], warnings: [], commands: [], waiting: [] };
    const figures = { ...nothing, webhooks: { waiting: 0, oldestSeconds: 0 }, commandTimes: [histogram] };
    const { series, types } = parseMetrics(renderMetrics(controlMetrics(figures)));
    const name = 'longshore_command_duration_seconds';
    expect(types.get(name)).toBe('histogram');
    const buckets = series.filter((one) => one.name === `${name}_bucket`);
    expect(buckets.map(({ labels }) => labels.le)).toEqual([...TIME_BUCKETS.map(String), '+Inf']);
    const counts = buckets.map(({ value }) => value);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(counts.at(-1)).toBe(series.find((one) => one.name === `${name}_count`)?.value);
  });
});
