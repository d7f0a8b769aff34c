/** Bundles every program once, so that a broken import shows before the tests start. */
import { buildProgram, buildWorker } from './build.ts';

const built = await Promise.all([buildWorker(), buildProgram('agent/main.ts'), buildProgram('selfhost/main.ts')]);
process.stdout.write(`${built.join('\n')}\n`);
