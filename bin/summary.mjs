/**
 * The closing lines of `npm test`: every failed and skipped test by name, then the count over all layers. Exits 1 when a
 * test failed, or when a layer ran none (a required suite may not be skipped as a whole).
 *
 *     node bin/summary.mjs .longshore/test unit worker root integration security e2e
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';

const [directory = '', ...layers] = process.argv.slice(2);
const count = { passed: 0, failed: 0, skipped: 0 };
let empty = false;

for (const layer of layers) {
  const tests = readTests(layer);
  if (!tests.some((test) => test.status === 'passed' || test.status === 'failed')) {
    empty = true;
    process.stdout.write(`${layer}: ran no test\n`);
  }
  for (const { status, fullName, file } of tests) {
    const kind = status === 'passed' || status === 'failed' ? status : 'skipped';
    count[kind] += 1;
    if (kind !== 'passed') process.stdout.write(`${kind}: ${file}: ${fullName}\n`);
  }
}
process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
process.exit(empty || count.failed > 0 ? 1 : 0);

/** A layer whose report is missing (its runner died) has no tests; a file that could not be loaded counts as failed. */
function readTests(layer) {
  let report;
  try {
    report = JSON.parse(readFileSync(path.join(directory, `${layer}.json`), 'utf8'));
  } catch {
    return [];
  }
  return report.testResults.flatMap((suite) => {
    const file = path.relative(process.cwd(), suite.name);
    const tests = suite.assertionResults.map(({ status, fullName }) => ({ status, fullName, file }));
    const broken = suite.status === 'failed' && !tests.some((test) => test.status === 'failed');
    return broken ? [...tests, { status: 'failed', fullName: suite.message || 'cannot be loaded', file }] : tests;
  });
}
