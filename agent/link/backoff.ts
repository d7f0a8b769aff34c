/** Full-jitter back-off: agents that lost the same control plane must not return in one wave. */

const FIRST_MS = 250;
const MOST_MS = 10_000;

/** Delay before the `attempt`-th try in a row (0 for the first), uniformly between 0 and a doubling bound. */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  return Math.floor(random() * Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(attempt, 16)));
}
