/** Waits for an assertion to hold: generous, since a busy machine is no failure, and quick to see it. */
import { vi } from 'vitest';

export const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 15_000, interval: 50 });
