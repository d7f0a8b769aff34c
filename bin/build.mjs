/** Bundles the programs people start. Run by `bin/longshore` when the bundle is missing or older than the sources. */
import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const OUT_DIR = join(root, '.longshore/build');

/** One line per program: source → bundle. */
const PROGRAMS = [{ entry: 'agent/cli.ts', outfile: 'longshore.mjs' }];

/** Packages with native parts find their binaries beside themselves. */
const NATIVE = ['libsql', 'koffi'];

/** CommonJS packages in an ES module bundle ask for `require`. */
const BANNER = `import { createRequire as __createRequire } from 'node:module';const require = __createRequire(import.meta.url);`;

export async function buildAll() {
  await mkdir(OUT_DIR, { recursive: true });
  await Promise.all(
    PROGRAMS.map(async ({ entry, outfile }) => {
      // Under another name first: two builds at once, or a kill, leave no half bundle.
      const temporary = join(OUT_DIR, `.${outfile}.${process.pid}`);
      await build({
        entryPoints: [join(root, entry)],
        outfile: temporary,
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node20',
        external: NATIVE,
        banner: { js: BANNER },
        sourcemap: 'inline',
        logLevel: 'warning',
      });
      await rename(temporary, join(OUT_DIR, outfile));
    }),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildAll();
