import { expect, test } from 'vitest';
import { chooseMeasures, measures } from '#bench/vs-lxd/measures.ts';
import type { Row } from '#bench/vs-lxd/pairs.ts';
import { formatTable } from '#bench/vs-lxd/table.ts';

const row = (changes: Partial<Row>): Row => ({
  name: 'launch',
  unit: 'ms',
  target: 0.3,
  values: [
    [480, 500, 490],
    [120, 120, 120],
  ],
  floor: [19.2, 18.4, 25],
  ...changes,
});

test('shows medians, the ratio, the target and the floor, and marks what missed or failed', () => {
  const table = formatTable([
    row({}),
    row({ name: 'list', target: 0.1, floor: [] }),
    row({ name: 'push', unit: 'MB/s', target: 1, values: [[90], [198]], floor: [812] }),
    { name: 'exec', failure: 'no' },
  ]);
  expect(table).toBe(
    [
      'MEASURE      LXD  LONGSHORE  RATIO  TARGET             FLOOR',
      'launch    490 ms     120 ms   0.24   ≤ 0.3  ok         19 ms',
      'list      490 ms     120 ms   0.24   ≤ 0.1  MISSED         -',
      'push     90 MB/s   198 MB/s   2.20   ≥ 1.0  ok      812 MB/s',
      'exec           -          -      -       -  FAILED         -',
    ].join('\n'),
  );
});

const names = (wanted: string[]) => chooseMeasures(measures('noise'), wanted).map((it) => it.name);

test('measures all when nothing is asked for', () => {
  expect(names([])).toEqual([
    'launch one to RUNNING',
    'stop -f',
    'exec on another host',
    'push 100 MB',
    'pull 100 MB',
    'launch 30 at once',
    'list with 100 instances',
  ]);
});

test('chooses measures by a part of their names, in their own order', () => {
  expect(names(['PULL', 'launch'])).toEqual(['launch one to RUNNING', 'pull 100 MB', 'launch 30 at once']);
});

test('names the measures there are when one is not known', () => {
  expect(() => names(['fly'])).toThrow(/No measure is called fly.*stop -f/s);
});
