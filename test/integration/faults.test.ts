/** A short fault campaign; `npm run test:faults` is the long one. */
import { expect, it } from 'vitest';
import { formatReport, isClean, runCampaign } from '#test/faults/campaign.ts';
import { FAULTS } from '#test/faults/kinds.ts';

/** Another one is as good: with this one, a failure is there again at the next run. */
const SEED = 20261121;

it('loses, doubles and leaks nothing through one fault of each kind', { timeout: 300_000 }, async () => {
  const progress: string[] = [];
  const report = await runCampaign({ faults: FAULTS.length, seed: SEED, say: (line) => progress.push(line) });
  expect(isClean(report.verdict), `${progress.join('\n')}\n${formatReport(report)}`).toBe(true);
  expect(report.verdict.started).toBeGreaterThan(FAULTS.length);
});
