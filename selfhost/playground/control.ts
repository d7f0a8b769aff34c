/** The control plane as a process of its own, so that measuring and testing do not share its thread. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { buildProgram } from '../build.ts';
import { stopDaemon } from '../run.ts';

export interface ControlProcess {
  child: ChildProcess;
  dataDir: string;
  log: string;
  /** PEM that clients pin. */
  certificate: string;
  stop(): Promise<void>;
}

export interface ControlProcessOptions {
  dataDir: string;
  log: string;
  listen: readonly string[];
  /** What hosts reach it under. */
  addresses: readonly string[];
  trustFile: string;
  logLevel?: string;
  /** Replicas of the database. */
  replicas?: number;
}

/** Node gives up memory late; the front's own need is small, so let it collect before it grows. */
const NODE_FLAGS = ['--max-semi-space-size=8'];

/** Resolves when it serves; throws its last words when it does not. It dies with this process. */
export async function startControlProcess(options: ControlProcessOptions): Promise<ControlProcess> {
  const program = await buildProgram('selfhost/main.ts');
  const out = openSync(options.log, 'a', 0o600);
  const args = [
    ...[...NODE_FLAGS, program, '--data', options.dataDir, '--trust', options.trustFile],
    ...options.listen.flatMap((address) => ['--listen', address]),
    ...options.addresses.flatMap((address) => ['--address', address]),
    ...['--log-level', options.logLevel ?? 'info', '--replicas', String(options.replicas ?? 0)],
  ];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', process.execPath, ...args], {
    stdio: ['ignore', 'pipe', out],
    detached: true,
  });
  closeSync(out);
  await untilReady(child, options.log);
  return {
    child,
    dataDir: options.dataDir,
    log: options.log,
    certificate: await readFile(path.join(options.dataDir, 'server.crt'), 'utf8'),
    stop: () => stopDaemon(child, 15_000),
  };
}

function untilReady(child: ChildProcess, log: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => {
      readFile(log, 'utf8').then(
        (text) => reject(new Error(text.trim().split('\n').slice(-5).join('\n') || 'The control plane ended')),
        reject,
      );
    });
    child.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.includes('ready ')) resolve();
    });
  });
}
