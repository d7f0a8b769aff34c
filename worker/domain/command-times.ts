/**
 * How long commands took from their request to their result, as a histogram for each kind: what Prometheus adds up. It begins
 * anew with its object, as counters may.
 */

/** Seconds: a stop takes milliseconds, a first launch from an image far away minutes. */
export const TIME_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;

export interface CommandTimes {
  command: string;
  /** Whether it did what it was asked. */
  ok: boolean;
  /** How many took no longer than each of `TIME_BUCKETS`. */
  buckets: number[];
  count: number;
  sumSeconds: number;
}

export interface CommandClock {
  note(command: string, ok: boolean, seconds: number): void;
  read(): CommandTimes[];
}

export function createCommandClock(): CommandClock {
  const kinds = new Map<string, CommandTimes>();
  return {
    note: (command, ok, seconds) => {
      const key = `${command} ${ok}`;
      const times = kinds.get(key) ?? { command, ok, buckets: TIME_BUCKETS.map(() => 0), count: 0, sumSeconds: 0 };
      kinds.set(key, {
        ...times,
        buckets: times.buckets.map((count, index) => count + (seconds <= (TIME_BUCKETS[index] ?? 0) ? 1 : 0)),
        count: times.count + 1,
        sumSeconds: times.sumSeconds + Math.max(0, seconds),
      });
    },
    read: () => [...kinds.values()],
  };
}

/** The same kinds of several objects, together. Pure. */
export function addTimes(all: readonly CommandTimes[]): CommandTimes[] {
  const sums = new Map<string, CommandTimes>();
  for (const times of all) {
    const key = `${times.command} ${times.ok}`;
    const sum = sums.get(key);
    sums.set(
      key,
      sum === undefined
        ? times
        : {
            ...times,
            buckets: times.buckets.map((count, index) => count + (sum.buckets[index] ?? 0)),
            count: times.count + sum.count,
            sumSeconds: times.sumSeconds + sum.sumSeconds,
          },
    );
  }
  return [...sums.values()];
}
