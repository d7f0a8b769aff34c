/**
 * `npm run bench`: both clusters up at once, every measure in pairs, one table on stdout; progress goes to stderr. A missed
 * target is marked and is no failure; a measure that could not be taken is one.
 */
import { setMaxListeners } from 'node:events';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { BuiltImage } from '#selfhost/images/cache.ts';
import { ensureTiny } from '#selfhost/images/tiny.ts';
import { createReport } from '#selfhost/playground/progress.ts';
import { createRun, removeRun, sweepRuns } from '#selfhost/playground/runs.ts';
import { run } from '#selfhost/run.ts';
import { type Floor, prepareFloor } from './floor.ts';
import { type LongshoreCluster, startLongshoreCluster } from './longshore-cluster.ts';
import { type LxdCluster, startLxdCluster } from './lxd-cluster.ts';
import { describeMachine } from './machine.ts';
import { type BenchMeasure, chooseMeasures, FILE_MB, measures } from './measures.ts';
import { measurePairs, type Row } from './pairs.ts';
import { type FailedRow, formatTable } from './table.ts';

const USAGE = `Usage: npm run bench -- [--rounds N] [--only NAME]…

  --rounds N     counted pairs per measure (7)
  --only NAME    only measures whose name contains this; may be given again
`;

const say = (line: string) => process.stderr.write(`${line}\n`);
const report = createReport(say);
const interrupt = new AbortController();

interface Clusters {
  lxd: LxdCluster;
  longshore: LongshoreCluster;
}

// Whatever is under way fails at the client, and everything is taken down on the way out. Later ones change nothing.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupt.abort());
// Each client that runs listens: 30 at once are no leak.
setMaxListeners(0, interrupt.signal);
interrupt.signal.addEventListener('abort', () => say('  Removing everything…'));

try {
  process.exitCode = await main();
} catch (error) {
  if (!interrupt.signal.aborted) say(error instanceof Error ? error.message : String(error));
  process.exitCode = interrupt.signal.aborted ? 130 : 1;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '7' },
      only: { type: 'string', multiple: true, default: [] },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds takes a number from 1 up\n\n${USAGE}`);
  await sweepRuns();
  const scratch = createRun();
  try {
    const noise = path.join(scratch.dir, 'noise');
    const chosen = chooseMeasures(measures(noise), values.only);
    // Versions as they are when the clusters start: the sources may change meanwhile.
    const [machine, image] = await Promise.all([describeMachine(), ensureTiny(), makeNoise(noise)]);
    const rows = await withClusters(image, (clusters) => measureAll(clusters, image, { chosen, rounds, noise }));
    if (rows.length > 0) print(rows, rounds, machine);
    interrupt.signal.throwIfAborted();
    return rows.some((row) => 'failure' in row) ? 1 : 0;
  } finally {
    await removeRun(scratch);
  }
}

/** Incompressible, and the same for both. */
async function makeNoise(file: string): Promise<void> {
  const sizes = ['bs=1000000', `count=${FILE_MB}`, 'iflag=fullblock', 'status=none'];
  await run('dd', ['if=/dev/urandom', `of=${file}`, ...sizes]);
}

/** Starts both clusters, and removes what of them there is however `work` ends. */
async function withClusters<T>(image: BuiltImage, work: (clusters: Clusters) => Promise<T>): Promise<T> {
  const { signal } = interrupt;
  // Both to their end: one that fails must not leave the other half-made.
  const [lxd, longshore] = await Promise.allSettled([
    report('Three LXD members', () => startLxdCluster(image, signal)),
    report('Three Longshore hosts', () => startLongshoreCluster(image, signal)),
  ]);
  try {
    if (lxd.status === 'rejected') throw lxd.reason;
    if (longshore.status === 'rejected') throw longshore.reason;
    signal.throwIfAborted();
    return await work({ lxd: lxd.value, longshore: longshore.value });
  } finally {
    const started = [lxd, longshore].flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
    await report('Both removed', () => Promise.all(started.map((cluster) => cluster.stop())));
  }
}

interface Plan {
  chosen: BenchMeasure[];
  rounds: number;
  noise: string;
}

async function measureAll({ lxd, longshore }: Clusters, image: BuiltImage, plan: Plan): Promise<(Row | FailedRow)[]> {
  const floor = await prepareFloor(longshore.floorHost, image.rootfs, plan.noise);
  const rows: (Row | FailedRow)[] = [];
  for (const measure of plan.chosen) {
    const options = { rounds: plan.rounds, ...floorOf(floor, measure) };
    try {
      rows.push(await report(measure.name, () => measurePairs([lxd.side, longshore.side], measure, options)));
    } catch (error) {
      // What was measured before an interrupt is worth having, and the others without this one.
      if (interrupt.signal.aborted) return rows;
      rows.push({ name: measure.name, failure: error instanceof Error ? error.message : String(error) });
    }
  }
  return rows;
}

function floorOf(floor: Floor, { floor: verb }: BenchMeasure): { floor?: () => Promise<number> } {
  return verb === undefined ? {} : { floor: () => floor.measure(verb) };
}

function print(rows: (Row | FailedRow)[], rounds: number, machine: string): void {
  const failures = rows.flatMap((row) => ('failure' in row ? [`${row.name}: ${row.failure}`] : []));
  const head = `${new Date().toISOString().slice(0, 16)}Z, medians of ${rounds} pairs, the floor by the bare tools on one host`;
  const parts = [head, machine, '', formatTable(rows), ...failures.map((line) => `\n${line}`)];
  process.stdout.write(`\n${parts.join('\n')}\n`);
}
