/** Bundles of our own programs, by esbuild: fast enough to make them whenever they are started, so they are never stale. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { inRepository, inState } from './paths.ts';
import { run } from './run.ts';

/** A readable file that is replaced in one step: another start may be reading the old one. */
async function bundle(options: BuildOptions, outfile: string): Promise<string> {
  const temporary = `${outfile}.${process.pid}.tmp`;
  await mkdir(path.dirname(outfile), { recursive: true });
  await build({
    bundle: true,
    format: 'esm',
    logLevel: 'error',
    outfile: temporary,
    absWorkingDir: inRepository(),
    ...options,
  });
  await rename(temporary, outfile);
  return outfile;
}

/** The worker as one ES module, as workerd wants it. Resolves to its path. */
export async function buildWorker(entry = inRepository('worker/main.ts')): Promise<string> {
  const options: BuildOptions = {
    entryPoints: [entry],
    // `@libsql/client` has a build for the web behind these conditions, without the native binding.
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    target: 'es2022',
    sourcemap: 'inline',
    sourcesContent: false,
    define: { 'process.env.NODE_ENV': '"production"' },
  };
  return bundle(options, inState('build', `${nameFor(entry)}.js`));
}

/** The command `longshore`, by its own build. Resolves to its path. */
export async function buildLongshore(): Promise<string> {
  await run(process.execPath, [inRepository('bin/build.mjs')]);
  return inState('build', 'longshore.mjs');
}

/** A program for Node; packages stay in node_modules. Resolves to its path. */
export async function buildProgram(entry: string): Promise<string> {
  const options: BuildOptions = {
    entryPoints: [inRepository(entry)],
    packages: 'external',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    alias: Object.fromEntries(
      ['protocol', 'worker', 'agent', 'selfhost', 'test'].map((dir) => [`#${dir}`, inRepository(dir)]),
    ),
  };
  return bundle(options, inState('build', `${entry.replace(/\.ts$/, '').replaceAll('/', '-')}.mjs`));
}

/** Entries outside the repository (tests) get names of their own. */
function nameFor(entry: string): string {
  if (entry === inRepository('worker/main.ts')) return 'worker';
  return `worker-${createHash('sha256').update(entry).update(readFileSync(entry)).digest('hex').slice(0, 12)}`;
}
