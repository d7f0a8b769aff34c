/**
 * The only place of the agent that starts programs. Argument arrays, never a shell; C locale; a query that fails is an
 * error, not "does not exist".
 */
import { execa } from 'execa';

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

/** Runs `file` with `args`; throws `ExecError` on another exit code, on a signal, on time-out or when it is not installed. */
export const exec: Exec = async (file, args, options = {}) => {
  const result = await execa(file, args, {
    reject: false,
    timeout: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    ...(options.signal ? { cancelSignal: options.signal } : {}),
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    cwd: options.cwd ?? '/',
    env: { LC_ALL: 'C.UTF-8', ...options.env },
    maxBuffer: 64 * 1024 * 1024,
  });
  const okCodes = options.okExitCodes ?? [0];
  if (result.exitCode === undefined || !okCodes.includes(result.exitCode)) {
    throw new ExecError(
      file,
      result.exitCode,
      result.timedOut ? 'timed out' : result.stderr || (result.originalMessage ?? ''),
      result.cause,
    );
  }
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode };
};
