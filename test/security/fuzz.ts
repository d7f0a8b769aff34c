/** Runs a check on many values. The same ones in every run, so that a red build is about its change; `FUZZ_SEED` gives others. */
import fc, { type Arbitrary } from 'fast-check';
import { tried } from './client.ts';

export const SEED = Number(process.env.FUZZ_SEED ?? 20_261_121);

/** Throws with the seed, the path to it and the smallest value that fails. */
export function fuzz<T>(arbitrary: Arbitrary<T>, count: number, check: (value: T) => void): void {
  fc.assert(
    fc.property(arbitrary, (value) => {
      tried.parsed += 1;
      check(value);
    }),
    { numRuns: count, seed: SEED },
  );
}

/** The same for a check that takes several values at a time, as a server does. */
export async function fuzzAsync<T>(
  arbitrary: Arbitrary<T>,
  { count, lanes }: { count: number; lanes: number },
  check: (value: T) => Promise<void>,
): Promise<void> {
  const several = fc.array(arbitrary, { minLength: lanes, maxLength: lanes });
  const property = fc.asyncProperty(several, async (values) => void (await Promise.all(values.map(check))));
  await fc.assert(property, { numRuns: Math.ceil(count / lanes), seed: SEED });
}
