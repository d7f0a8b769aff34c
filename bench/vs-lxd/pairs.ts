/**
 * Paired measurement: A B A B … in one run, because these machines drift. Quoted are medians and the median of the ratios
 * pair by pair.
 */

export interface Side {
  name: string;
  /** Runs the stock client; throws when it exits with another code than 0. */
  lxc(args: string[]): Promise<string>;
}

/** Milliseconds, where less is better; or megabytes per second, where more is. */
export type Unit = 'ms' | 'MB/s';

/** One thing to measure. Only `run` is timed. */
export interface Measure {
  name: string;
  unit: Unit;
  /** The ratio second/first that is asked for: at most this of `ms`, at least this of `MB/s`. */
  target: number;
  /** For `MB/s`: how much one run moves. */
  megabytes?: number;
  /** Once per side, before the first round and after the last, even when one fails. */
  setUp?(side: Side): Promise<void>;
  tearDown?(side: Side): Promise<void>;
  before?(side: Side, round: number): Promise<void>;
  run(side: Side, round: number): Promise<void>;
  after?(side: Side, round: number): Promise<void>;
}

export interface Row {
  name: string;
  unit: Unit;
  target: number;
  /** Per side, one value per round. */
  values: [number[], number[]];
  /** The same work without any control plane, one value per round; empty where there is no such thing. */
  floor: number[];
}

export interface PairOptions {
  rounds: number;
  /** Does the work once by the bare tools and resolves to the milliseconds it took. */
  floor?: () => Promise<number>;
  /** Milliseconds, for tests. */
  now?: () => number;
}

/** NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Median of second/first, pair by pair. */
export function medianRatio({ values: [first, second] }: Pick<Row, 'values'>): number {
  return median(second.map((value, index) => value / (first[index] ?? Number.NaN)));
}

/** Whether the second side is as good as asked, beside the first. NaN never is. */
export function meetsTarget(row: Pick<Row, 'values' | 'unit' | 'target'>): boolean {
  return row.unit === 'ms' ? medianRatio(row) <= row.target : medianRatio(row) >= row.target;
}

/**
 * `rounds` pairs after one that is not counted. The side that goes first alternates; the floor follows each pair. Throws
 * what a side throws.
 */
export async function measurePairs(sides: [Side, Side], measure: Measure, options: PairOptions): Promise<Row> {
  const { rounds, floor, now = () => performance.now() } = options;
  const { name, unit, target } = measure;
  const row: Row = { name, unit, target, values: [[], []], floor: [] };
  const toUnit = (elapsedMs: number) => (unit === 'ms' ? elapsedMs : (measure.megabytes ?? 0) / (elapsedMs / 1000));
  const measureSide = async (index: 0 | 1, round: number) => {
    const side = sides[index];
    await measure.before?.(side, round);
    const startedAt = now();
    await measure.run(side, round);
    const elapsedMs = now() - startedAt;
    await measure.after?.(side, round);
    if (round > 0) row.values[index].push(toUnit(elapsedMs));
  };
  try {
    for (const side of sides) await measure.setUp?.(side);
    for (let round = 0; round <= rounds; round++) {
      const first = round % 2 === 0 ? 0 : 1;
      await measureSide(first, round);
      await measureSide(first === 0 ? 1 : 0, round);
      const floorMs = await floor?.();
      if (floorMs !== undefined && round > 0) row.floor.push(toUnit(floorMs));
    }
  } finally {
    // What failed is what counts: a tear-down that fails after it says no more.
    await Promise.allSettled(sides.map((side) => measure.tearDown?.(side)));
  }
  return row;
}
