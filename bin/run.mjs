/**
 * Runs a TypeScript program of this repository: bundles it (own code only; packages stay in node_modules) into
 * `.longshore/build/` and imports it. About 100 ms, so it is done at every start and never stale.
 *
 *     node bin/run.mjs selfhost/control-plane.ts --data DIR
 */
import { renameSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const [entry = '', ...args] = process.argv.slice(2);
const name = entry.replace(/\.ts$/, '').replaceAll('/', '-');
const outfile = path.join(root, '.longshore/build', `${name}.mjs`);
// Another start of the same program may be reading the old file: replace it in one step.
const temporary = `${outfile}.${process.pid}.tmp`;

await build({
  entryPoints: [path.join(root, entry)],
  outfile: temporary,
  bundle: true,
  packages: 'external',
  alias: Object.fromEntries(
    ['protocol', 'worker', 'agent', 'selfhost', 'bench', 'test'].map((d) => [`#${d}`, path.join(root, d)]),
  ),
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  logLevel: 'error',
});
renameSync(temporary, outfile);
process.argv = [process.argv[0] ?? 'node', outfile, ...args];
await import(pathToFileURL(outfile).href);
