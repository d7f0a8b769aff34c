/**
 * Reading ahead. Who calls is looked up in the database for every request; a request that only reads is meanwhile answered
 * for what its caller was the last time, so both take one round trip.
 *
 * Invariant: such an answer leaves only after the lookup has found the very same caller; else it is dropped and made anew.
 */
import type { Caller } from './auth.ts';

const hasSameRights = (one: Caller, other: Caller): boolean =>
  one.trusted === other.trusted &&
  one.metrics === other.metrics &&
  one.readOnly === other.readOnly &&
  JSON.stringify(one.principal) === JSON.stringify(other.principal);

/** The answer for who really calls. `expected` null: nothing is known yet, so it is made after the lookup. */
export async function answerEarly(
  expected: Caller | null,
  authenticated: Promise<Caller>,
  answer: (caller: Caller) => Promise<Response>,
): Promise<Response> {
  if (expected === null) return answer(await authenticated);
  const early = answer(expected);
  // Dropped, its failure is nobody's.
  early.catch(() => {});
  const caller = await authenticated;
  return hasSameRights(caller, expected) ? early : answer(caller);
}
