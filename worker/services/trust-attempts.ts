/**
 * Slows down guessing of the trust password and of tokens: after some failures from one address within a minute, further
 * attempts from there are refused unchecked until the minute is over. Counted in libSQL, since every request may meet
 * another isolate.
 */
import { forbidden } from '#protocol/errors.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import { countTrustFailure, dropOldTrustFailures, findServerConfig } from '#worker/state/config.ts';
import { runBatch } from '#worker/state/db.ts';
import type { Context } from './context.ts';

/** A person mistypes a few times; a program tries thousands. */
const FAILURES_PER_WINDOW = 8;
const WINDOW_MS = 60_000;

/** Runs `attempt`; its 403 counts against `address`. Throws 403 at once when there were too many. */
export async function limitAttempts<T>(ctx: Context, address: string, attempt: () => Promise<T>): Promise<T> {
  // A hash, so that no address can be chosen to clash with a configuration key.
  const key = `internal.trust-failures/${await sha256Hex(address)}`;
  const [since, count] = parse(await findServerConfig(ctx.db, key));
  const now = ctx.now();
  const fresh = since > shiftIso(now, -WINDOW_MS);
  if (fresh && count >= FAILURES_PER_WINDOW) throw forbidden();
  try {
    return await attempt();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'forbidden') {
      const value = fresh ? `${since}|${count + 1}` : `${now}|1`;
      await runBatch(ctx.db, [
        countTrustFailure(ctx.db, key, value),
        dropOldTrustFailures(ctx.db, shiftIso(now, -WINDOW_MS)),
      ]);
      ctx.log.warn('trust.refused', { count: fresh ? count + 1 : 1 });
    }
    throw error;
  }
}

function parse(value: string | undefined): [since: string, count: number] {
  const [since, count] = value?.split('|') ?? [];
  return [since ?? '', Number(count ?? 0)];
}
