/**
 * Starting a program by posix_spawn(3): all other files of this folder that start programs do it through here. Node's own
 * way copies the page tables of this process and stands still until the child has become the program; that is several
 * milliseconds for an agent of 100 MB, in which it does nothing else. This takes a tenth of one.
 *
 * Invariant: a child is waited for by its own pid, once; until then its pid is nobody else's, so `kill` cannot hit a stranger.
 */
import { accessSync, closeSync, constants, statSync } from 'node:fs';
import os from 'node:os';
import { delimiter, join } from 'node:path';
import koffi from 'koffi';
import { lastError, libc } from './libc.ts';

export interface ProgramOptions {
  cwd: string;
  /** The whole environment; its PATH is searched. */
  env: Readonly<Record<string, string>>;
  /** What become descriptors 0, 1 and 2; null is `/dev/null`. They stay open here. */
  stdio: readonly [number | null, number | null, number | null];
  /** A session of its own, without a terminal. */
  newSession?: boolean;
}

/** How it ended: an exit code, or a signal's number. */
export type Ending = { code: number } | { signal: number };

export interface Program {
  pid: number;
  exited: Promise<Ending>;
  /** Does nothing once it has ended. */
  kill(signal: number): void;
}

const O_CLOEXEC = 0o2000000;
const WNOHANG = 1;
const FLAG_SIGNAL_DEFAULTS = 0x04;
const FLAG_SIGNAL_MASK = 0x08;
const FLAG_NEW_SESSION = 0x80;
/** Larger than glibc's `posix_spawnattr_t`, `posix_spawn_file_actions_t` and `sigset_t`. */
const STRUCT_BYTES = 512;

/** A pipe that no program inherits by itself. */
export function makePipe(): { readFd: number; writeFd: number } {
  const fds = Buffer.alloc(8);
  if (libc('int pipe2(void *fds, int flags)')(fds, O_CLOEXEC) !== 0) throw lastError('pipe2', '');
  return { readFd: fds.readInt32LE(0), writeFd: fds.readInt32LE(4) };
}

/** Children that have not been waited for. */
const running = new Map<number, (ending: Ending) => void>();
let listening = false;

/** Before the first child: a signal that comes with nobody listening is lost. */
function listen(): void {
  if (listening) return;
  listening = true;
  process.on('SIGCHLD', reap);
}

function reap(): void {
  const waitpid = libc('int waitpid(int pid, _Out_ int *status, int options)');
  for (const [pid, end] of running) {
    const status = [0];
    if (waitpid(pid, status, WNOHANG) !== pid) continue;
    running.delete(pid);
    const [value = 0] = status;
    const signal = value & 0x7f;
    end(signal === 0 ? { code: (value >> 8) & 0xff } : { signal });
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const failure = (file: string, code: string) => Object.assign(new Error(`spawn ${file} ${code}`), { code });

function findProgram(file: string, searchPath: string): string {
  if (file.includes('/')) return file;
  const path = searchPath
    .split(delimiter)
    .map((directory) => join(directory, file))
    .find(isProgram);
  if (path === undefined) throw failure(file, 'ENOENT');
  return path;
}

/** Signals as a fresh process has them: this one ignores some. */
function makeAttributes(newSession: boolean): Buffer {
  const attributes = Buffer.alloc(STRUCT_BYTES);
  const all = Buffer.alloc(STRUCT_BYTES);
  const none = Buffer.alloc(STRUCT_BYTES);
  libc('int sigfillset(void *set)')(all);
  libc('int posix_spawnattr_init(void *attr)')(attributes);
  libc('int posix_spawnattr_setsigdefault(void *attr, void *set)')(attributes, all);
  libc('int posix_spawnattr_setsigmask(void *attr, void *set)')(attributes, none);
  const flags = FLAG_SIGNAL_DEFAULTS | FLAG_SIGNAL_MASK | (newSession ? FLAG_NEW_SESSION : 0);
  libc('int posix_spawnattr_setflags(void *attr, short flags)')(attributes, flags);
  return attributes;
}

function addActions(actions: Buffer, { cwd, stdio }: ProgramOptions): void {
  const addOpen = libc(
    'int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, unsigned int mode)',
  );
  const addDup = libc('int posix_spawn_file_actions_adddup2(void *actions, int fd, int newFd)');
  for (const [target, fd] of stdio.entries()) {
    if (fd === null) addOpen(actions, target, '/dev/null', constants.O_RDWR, 0);
    else addDup(actions, fd, target);
  }
  libc('int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)')(actions, cwd);
}

const strings = (values: readonly string[]) => koffi.as([...values, null], 'char **');

/** Starts `file` with `args`. Throws Node's kind of error (`code` ENOENT, EACCES, …) when it cannot. */
export function startProgram(file: string, args: readonly string[], options: ProgramOptions): Program {
  const texts = [file, options.cwd, ...args, ...Object.entries(options.env).flat()];
  if (texts.some((text) => text.includes('\0'))) throw failure(file.replaceAll('\0', '?'), 'EINVAL');
  const path = findProgram(file, options.env.PATH ?? '');
  const environment = Object.entries(options.env).map(([name, value]) => `${name}=${value}`);
  const actions = Buffer.alloc(STRUCT_BYTES);
  libc('int posix_spawn_file_actions_init(void *actions)')(actions);
  const pid = [0];
  listen();
  try {
    addActions(actions, options);
    const spawn = libc(
      'int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attributes, void *argv, void *envp)',
    );
    const attributes = makeAttributes(options.newSession === true);
    const error: number = spawn(pid, path, actions, attributes, strings([file, ...args]), strings(environment));
    if (error !== 0) throw failure(file, errorName(error));
  } finally {
    libc('int posix_spawn_file_actions_destroy(void *actions)')(actions);
  }
  return follow(pid[0] ?? 0);
}

const errorName = (error: number) =>
  Object.entries(os.constants.errno).find(([, number]) => number === error)?.[0] ?? 'EIO';

function follow(pid: number): Program {
  const exited = new Promise<Ending>((resolve) => running.set(pid, resolve));
  return {
    pid,
    exited,
    kill: (signal) => {
      if (running.has(pid)) process.kill(pid, signal);
    },
  };
}

/** Closes descriptors; which have been closed already is a mistake of the caller. */
export function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeSync(fd);
}
