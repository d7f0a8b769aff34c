import { expect, test } from 'vitest';
import { type Measure, measurePairs, median, medianRatio, meetsTarget, type Side } from '#bench/vs-lxd/pairs.ts';

/** A clock that only moves when told, and two sides that note what is done to them and move it. */
function bench({ lxdMs = 100, longshoreMs = 20 } = {}) {
  let clock = 0;
  const done: string[] = [];
  const side = (name: string): Side => ({
    name,
    lxc: async ([verb = '']) => {
      done.push(`${name} ${verb}`);
      clock += name === 'A' ? lxdMs : longshoreMs;
      return '';
    },
  });
  const act = (verb: string) => async (it: Side) => {
    await it.lxc([verb]);
  };
  return { sides: [side('A'), side('B')] as [Side, Side], act, done, now: () => clock };
}

const launch = (run: Measure['run'], extra: Partial<Measure> = {}): Measure => ({
  name: 'launch',
  unit: 'ms',
  target: 0.3,
  run,
  ...extra,
});

test.each([
  ['one', [4], 4],
  ['an odd number, unsorted', [9, 1, 5], 5],
  ['an even number: between the two in the middle', [1, 2, 4, 100], 3],
  ['numbers, not strings', [10, 9, 100], 10],
  ['nothing', [], Number.NaN],
])('takes the median of %s', (_name, values, expected) => {
  expect(median(values)).toBe(expected);
});

test('leaves the values that it takes a median of in their order', () => {
  const values = [3, 1, 2];
  median(values);
  expect(values).toEqual([3, 1, 2]);
});

test('compares pair by pair, so that a slow minute of the machine cancels out', () => {
  const values: [number[], number[]] = [
    [100, 1000, 100],
    [50, 500, 50],
  ];
  expect(medianRatio({ values })).toBe(0.5);
});

test.each([
  ['less time than asked', 'ms', 0.3, 100, 20, true],
  ['exactly the time asked', 'ms', 0.2, 100, 20, true],
  ['more time than asked', 'ms', 0.1, 100, 20, false],
  ['more throughput than asked', 'MB/s', 1, 90, 200, true],
  ['less throughput than asked', 'MB/s', 1, 90, 80, false],
] as const)('judges %s', (_name, unit, target, first, second, expected) => {
  expect(meetsTarget({ unit, target, values: [[first], [second]] })).toBe(expected);
});

test('never finds a target met without a value', () => {
  expect(meetsTarget({ unit: 'ms', target: 1, values: [[], []] })).toBe(false);
});

test('alternates which side goes first, and does not count the first pair', async () => {
  const { sides, act, done, now } = bench();
  const row = await measurePairs(sides, launch(act('run')), { rounds: 3, now });
  expect(done).toEqual(['A run', 'B run', 'B run', 'A run', 'A run', 'B run', 'B run', 'A run']);
  expect(row.values).toEqual([
    [100, 100, 100],
    [20, 20, 20],
  ]);
});

test('times the run alone', async () => {
  const { sides, act, now } = bench();
  const untimed = { setUp: act('setUp'), before: act('before'), after: act('after'), tearDown: act('tearDown') };
  const row = await measurePairs(sides, launch(act('run'), untimed), { rounds: 1, now });
  expect(row.values).toEqual([[100], [20]]);
});

test('turns time into throughput', async () => {
  const { sides, act, now } = bench({ lxdMs: 1000, longshoreMs: 250 });
  const row = await measurePairs(sides, launch(act('run'), { unit: 'MB/s', megabytes: 100 }), { rounds: 1, now });
  expect(row.values).toEqual([[100], [400]]);
});

test('takes the floor after every pair, in the unit of the measure', async () => {
  const { sides, act, done, now } = bench();
  const floor = async () => {
    done.push('floor');
    return 500;
  };
  const measure = launch(act('run'), { unit: 'MB/s', megabytes: 100 });
  const row = await measurePairs(sides, measure, { rounds: 1, now, floor });
  expect(done).toEqual(['A run', 'B run', 'floor', 'B run', 'A run', 'floor']);
  expect(row.floor).toEqual([200]);
});

test('sets both sides up once, and takes both down when a run fails', async () => {
  const { sides, act, done, now } = bench();
  const measure = launch(() => Promise.reject(new Error('no')), { setUp: act('setUp'), tearDown: act('tearDown') });
  await expect(measurePairs(sides, measure, { rounds: 3, now })).rejects.toThrow('no');
  expect(done).toEqual(['A setUp', 'B setUp', 'A tearDown', 'B tearDown']);
});
