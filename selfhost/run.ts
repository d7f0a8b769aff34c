/**
 * Starting programs: the only place of `selfhost` that does. Argument arrays, never a shell string; the C locale.
 * Long-running ones die with this process even when it is killed with SIGKILL, so that nothing is left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { execa } from 'execa';

export interface RunOptions {
  input?: string;
  cwd?: string;
  env?: Record<string, string>;
  timeoutMs?: number;
  /** Answer instead of throwing when the program ends with another code than 0. */
  allowFailure?: boolean;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  code: number;
}

/** Runs to the end. Throws with the last lines of stderr when the code is not 0, the time is up, or it is not installed. */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await execa(file, args, {
    reject: false,
    timeout: options.timeoutMs ?? 120_000,
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { LC_ALL: 'C.UTF-8', ...options.env },
    maxBuffer: 64 * 1024 * 1024,
    stripFinalNewline: false,
  });
  const answer = { stdout: result.stdout, stderr: result.stderr, code: result.exitCode ?? -1 };
  if (answer.code === 0 || (options.allowFailure && result.exitCode !== undefined)) return answer;
  const tail = (result.stderr || result.stdout || result.originalMessage || '').trim().split('\n').slice(-5).join('\n');
  const why = result.timedOut ? 'timed out' : `failed with code ${result.exitCode ?? result.signal ?? 'none'}`;
  throw new Error(`${file} ${args.slice(0, 3).join(' ')} ${why}${tail ? `: ${tail}` : ''}`);
}

export interface DaemonOptions {
  /** Absent: this process's own stderr, which the journal or the caller keeps. */
  log?: string;
  cwd?: string;
  env?: Record<string, string>;
}

/** Starts a program that stays, its output going to `log`. It is killed when this process ends, however that happens. */
export function startDaemon(file: string, args: readonly string[], options: DaemonOptions): ChildProcess {
  const out = options.log === undefined ? 2 : openSync(options.log, 'a', 0o600);
  // setpriv replaces itself by the program: the pid is the program's own.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', file, ...args], {
    stdio: ['ignore', out, out],
    // A session of its own: Ctrl-C at the terminal is for us, who stop things in order.
    detached: true,
    cwd: options.cwd ?? '/',
    env: { ...process.env, LC_ALL: 'C.UTF-8', ...options.env },
  });
  if (options.log !== undefined) closeSync(out);
  return child;
}

/** SIGTERM, then SIGKILL after `graceMs`; resolves when it is gone. workerd does not exit while a websocket is open. */
export async function stopDaemon(child: ChildProcess, graceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await gone;
  clearTimeout(timer);
}
