/**
 * `npm run test:faults`: at least 200 faults on a cluster of its own, and a table of what became of it. Exits 1 when anything was
 * lost, doubled, leaked, or not as promised.
 *
 *     npm run test:faults -- --faults 200 --seed 42
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { formatReport, isClean, runCampaign } from './campaign.ts';

const { values } = parseArgs({
  options: { faults: { type: 'string', default: '200' }, seed: { type: 'string' } },
});
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const say = (line: string) => process.stderr.write(`${line}\n`);
say(`seed ${seed}`);
const report = await runCampaign({ faults: Number(values.faults), seed, say });
process.stdout.write(`${formatReport(report)}\n`);
process.exit(isClean(report.verdict) ? 0 : 1);
