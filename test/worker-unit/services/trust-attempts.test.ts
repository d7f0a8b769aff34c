import { describe, expect, it } from 'vitest';
import { AppError, badRequest, forbidden } from '#protocol/errors.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { countAttempts, limitAttempts } from '#worker/services/trust-attempts.ts';
import { serverConfig } from '#worker/state/schema.ts';
import { openApi } from '../http/api.ts';

const FROM = '198.51.100.9';
const wrong = () => Promise.reject(forbidden());

async function opened() {
  const api = await openApi();
  api.clock.now = '2026-11-21T12:00:00.000Z';
  const attempt = <T>(run: () => Promise<T>) => limitAttempts(api.ctx, FROM, run);
  /** In seconds; null when the attempt was made. */
  const waitAfter = async (): Promise<number | null> => {
    const error: unknown = await attempt(async () => {}).catch((thrown: unknown) => thrown);
    return error instanceof AppError ? error.retryAfterSeconds : null;
  };
  return { api, attempt, waitAfter };
}

describe('attempts to guess a secret', () => {
  it('that begin at the same moment cost their source more than one after the other would, an hour at most', async () => {
    for (const [attempts, seconds] of [
      [40, 40 * 7.5 - 7 * 7.5],
      [1_000, 3_600 - 7 * 7.5],
    ] as const) {
      const { attempt, waitAfter } = await opened();
      let begun = 0;
      let letFail = () => {};
      const allBegun = new Promise<void>((resolve) => {
        letFail = resolve;
      });
      const fail = async () => {
        begun += 1;
        if (begun === attempts) letFail();
        await allBegun;
        throw forbidden();
      };
      await Promise.allSettled(Array.from({ length: attempts }, () => attempt(fail)));
      expect(await waitAfter()).toBe(Math.ceil(seconds));
    }
  });

  it('are made again when the wait is over, as often as one comes off every 7.5 s', async () => {
    const { api, attempt, waitAfter } = await opened();
    for (let failure = 0; failure < 8; failure += 1) await expect(attempt(wrong)).rejects.toThrow('not authorized');
    expect(await waitAfter()).toBe(8);
    api.clock.now = shiftIso(api.clock.now, 7_500);
    expect(await waitAfter()).toBeNull();
    await expect(attempt(wrong)).rejects.toThrow('not authorized');
    await expect(attempt(wrong)).rejects.toThrow('Too many failed attempts');
    api.clock.now = shiftIso(api.clock.now, 60_000);
    for (let failure = 0; failure < 8; failure += 1) await expect(attempt(wrong)).rejects.toThrow('not authorized');
  });

  it('count only when they fail for that reason, and leave nothing behind', async () => {
    const { api, attempt } = await opened();
    for (let failure = 0; failure < 20; failure += 1) {
      await expect(attempt(() => Promise.reject(badRequest('no')))).rejects.toThrow('no');
      expect(await attempt(async () => 'in')).toBe('in');
    }
    expect(await api.db.select().from(serverConfig)).toEqual([]);
  });
});

describe('attempts with what nobody can guess', () => {
  it('succeed whatever failed before, and fail with 429 after a few failures', async () => {
    const { api } = await opened();
    const attempt = <T>(run: () => Promise<T>) => countAttempts(api.ctx, FROM, 'join', run);
    for (let failure = 0; failure < 8; failure += 1) await expect(attempt(wrong)).rejects.toThrow('not authorized');
    await expect(attempt(wrong)).rejects.toThrow('Too many failed attempts');
    expect(await attempt(async () => 'in')).toBe('in');
    // Each kind of secret has its own count.
    expect(await limitAttempts(api.ctx, FROM, async () => 'in')).toBe('in');
  });
});
