/**
 * Paired measurement: A B A B … in one run, because these machines drift. Quoted are medians and the median of the ratios
 * pair by pair.
 */

export interface Side {
  name: string;
  /** Runs the stock client; throws when it exits with another code than 0. */
  lxc(args: string[]): Promise<string>;
}

/** One thing to measure. `before` and `after` are not timed. */
export interface Measure<T = unknown> {
  name: string;
  /** What the number is: milliseconds, or megabytes per second (then more is better). */
  unit: 'ms' | 'MB/s';
  before?(side: Side, round: number): Promise<T>;
  run(side: Side, round: number, prepared: T): Promise<void>;
  after?(side: Side, round: number, prepared: T): Promise<void>;
  /** For `MB/s`: how much one run moves. */
  megabytes?: number;
}

export interface Row {
  name: string;
  unit: 'ms' | 'MB/s';
  /** Per side, in the order of the sides. */
  values: number[][];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Median of second/first, pair by pair. */
export function medianRatio(row: Row): number {
  const [first = [], second = []] = row.values;
  return median(second.map((value, index) => value / (first[index] ?? Number.NaN)));
}

/** `rounds` pairs after one that is not counted. The side that goes first alternates. */
export async function measurePairs(sides: [Side, Side], measure: Measure, rounds: number): Promise<Row> {
  const values: number[][] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 === 0 ? [0, 1] : [1, 0];
    for (const index of order) {
      const side = sides[index];
      if (side === undefined) continue;
      const prepared = await measure.before?.(side, round);
      const startedAt = performance.now();
      await measure.run(side, round, prepared);
      const elapsedMs = performance.now() - startedAt;
      await measure.after?.(side, round, prepared);
      if (round === 0) continue;
      values[index]?.push(measure.unit === 'ms' ? elapsedMs : (measure.megabytes ?? 0) / (elapsedMs / 1000));
    }
  }
  return { name: measure.name, unit: measure.unit, values };
}
