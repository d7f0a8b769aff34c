/**
 * The only place of the agent that starts programs. Argument arrays, never a shell; C locale; a query that fails is an
 * error, not "does not exist".
 */
import { Socket } from 'node:net';
import { closeAll, type Ending, makePipe, startProgram } from './program.ts';

export interface ExecOptions {
  timeoutMs?: number;
  signal?: AbortSignal;
  input?: string;
  cwd?: string;
  env?: Record<string, string>;
  /** Exit codes that are an ordinary answer; default only 0. */
  okExitCodes?: readonly number[];
}

export interface ExecResult {
  stdout: string;
  stderr: string;
  exitCode: number;
}

/** A program that ended badly; `message` is fit for a user (program, code, last line of stderr). */
export class ExecError extends Error {
  readonly file: string;
  readonly exitCode: number | undefined;
  readonly stderr: string;

  constructor(file: string, exitCode: number | undefined, stderr: string, cause?: unknown) {
    const lastLine = stderr.trim().split('\n').at(-1) ?? '';
    super(`${file} failed${exitCode === undefined ? '' : ` with code ${exitCode}`}${lastLine ? `: ${lastLine}` : ''}`, {
      cause,
    });
    this.name = 'ExecError';
    this.file = file;
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

export type Exec = (file: string, args: readonly string[], options?: ExecOptions) => Promise<ExecResult>;

const DEFAULT_TIMEOUT_MS = 60_000;
/** From asking a program to end to ending it. */
const KILL_AFTER_MS = 5_000;
/** More output than any tool has reason to give. */
const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024;
const SIGKILL = 9;
const SIGTERM = 15;

/** All that comes out of a pipe, without the last line break. `onTooMuch` is called when the limit is passed. */
function collect(fd: number, onTooMuch: () => void): Promise<string> {
  const stream = new Socket({ fd, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve) => {
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= OUTPUT_LIMIT_BYTES) chunks.push(chunk);
      else onTooMuch();
    });
    stream.on('error', () => stream.destroy());
    stream.once('close', () =>
      resolve(
        Buffer.concat(chunks)
          .toString('utf8')
          .replace(/\r?\n$/, ''),
      ),
    );
  });
}

/** Writes all and closes; a program that does not want it is no error. */
function feed(fd: number, input: string): void {
  const stream = new Socket({ fd, readable: false, writable: true });
  stream.on('error', () => stream.destroy());
  stream.end(input);
}

interface Outcome {
  ending: Ending;
  stdout: string;
  stderr: string;
  /** Why it was ended from here. */
  stopped: string | null;
}

async function run(file: string, args: readonly string[], options: ExecOptions): Promise<Outcome> {
  const stdin = options.input === undefined ? null : makePipe();
  const [out, err] = [makePipe(), makePipe()];
  const theirs = [...(stdin === null ? [] : [stdin.readFd]), out.writeFd, err.writeFd];
  const ours = [...(stdin === null ? [] : [stdin.writeFd]), out.readFd, err.readFd];
  const start = () => {
    try {
      options.signal?.throwIfAborted();
      return startProgram(file, args, {
        cwd: options.cwd ?? '/',
        env: { ...inherited(), LC_ALL: 'C.UTF-8', ...options.env },
        stdio: [stdin?.readFd ?? null, out.writeFd, err.writeFd],
      });
    } catch (error) {
      closeAll(ours);
      throw error;
    } finally {
      closeAll(theirs);
    }
  };
  const program = start();
  let stopped: string | null = null;
  let force: NodeJS.Timeout | undefined;
  const stop = (reason: string) => {
    if (stopped !== null) return;
    stopped = reason;
    program.kill(SIGTERM);
    force = setTimeout(() => program.kill(SIGKILL), KILL_AFTER_MS);
  };
  const timer = setTimeout(() => stop('timed out'), options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const cancel = () => stop('cancelled');
  options.signal?.addEventListener('abort', cancel, { once: true });
  if (stdin !== null) feed(stdin.writeFd, options.input ?? '');
  const [ending, stdout, stderr] = await Promise.all([
    program.exited,
    collect(out.readFd, () => stop('too much output')),
    collect(err.readFd, () => stop('too much output')),
  ]);
  clearTimeout(timer);
  clearTimeout(force);
  options.signal?.removeEventListener('abort', cancel);
  return { ending, stdout, stderr, stopped };
}

const inherited = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );

/** Runs `file` with `args`; throws `ExecError` on another exit code, on a signal, on time-out or when it is not installed. */
export const exec: Exec = async (file, args, options = {}) => {
  let outcome: Outcome;
  try {
    outcome = await run(file, args, options);
  } catch (error) {
    throw new ExecError(file, undefined, error instanceof Error ? error.message : String(error), error);
  }
  const { ending, stdout, stderr, stopped } = outcome;
  const exitCode = 'code' in ending && stopped === null ? ending.code : undefined;
  if (exitCode === undefined || !(options.okExitCodes ?? [0]).includes(exitCode)) {
    const signal = 'signal' in ending ? `ended by signal ${ending.signal}` : '';
    throw new ExecError(file, exitCode, stopped === 'timed out' ? stopped : stderr || stopped || signal);
  }
  return { stdout, stderr, exitCode };
};
