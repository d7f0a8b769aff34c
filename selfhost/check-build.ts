/** Bundles every program once, so that a broken import shows before the tests start. */
import { buildLongshore, buildProgram, buildWorker } from './build.ts';

const built = await Promise.all([buildWorker(), buildLongshore(), buildProgram('selfhost/main.ts')]);
process.stdout.write(`${built.join('\n')}\n`);
