/**
 * Programs that eat or give a stream of bytes. As in `exec`: argument arrays, never a shell, C locale, and a bad end is an
 * `ExecError`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { PassThrough, pipeline, type Readable, type Writable } from 'node:stream';
import { ExecError } from './exec.ts';

/** What is kept of a program's standard error: the end, where the reason is. */
const STDERR_LIMIT = 16 * 1024;

interface PipedProgram {
  /** Resolves at a good end, rejects with an `ExecError` at any other. Never left unhandled. */
  exited: Promise<void>;
  /** Kills it when it still runs. */
  kill(): void;
}

export interface ReadingProgram extends PipedProgram {
  stdin: Writable;
}

export interface WritingProgram extends PipedProgram {
  stdout: Readable;
}

function supervise(child: ChildProcess, file: string): PipedProgram {
  let stderr = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_LIMIT);
  });
  const exited = new Promise<void>((resolve, reject) => {
    child.once('error', (error) => reject(new ExecError(file, undefined, error.message, error)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new ExecError(file, code ?? undefined, stderr || `ended by ${signal ?? 'no signal'}`));
    });
  });
  exited.catch(() => {});
  return {
    exited,
    kill: () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    },
  };
}

const ENVIRONMENT = { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' };

/** Starts a program that reads a stream from its standard input. Writing after its end fails with EPIPE: `exited` tells why. */
export function startReading(file: string, args: readonly string[]): ReadingProgram {
  const child = spawn(file, [...args], { stdio: ['pipe', 'ignore', 'pipe'], cwd: '/', env: ENVIRONMENT });
  return { ...supervise(child, file), stdin: child.stdin };
}

/** Starts a program that writes a stream to its standard output, with the open file `inputFd` as its input (null: nothing). */
export function startWriting(file: string, args: readonly string[], inputFd: number | null): WritingProgram {
  const child = spawn(file, [...args], { stdio: [inputFd ?? 'ignore', 'pipe', 'pipe'], cwd: '/', env: ENVIRONMENT });
  if (child.stdout === null) throw new Error(`${file} was started without an output`);
  // Node throws away what an ended program has written and nobody reads yet: from here it can be fetched at any time.
  const stdout = new PassThrough();
  pipeline(child.stdout, stdout, () => {});
  const program = supervise(child, file);
  const kill = () => {
    program.kill();
    // What nobody fetches would keep the program from counting as ended.
    stdout.destroy();
  };
  return { ...program, stdout, kill };
}
