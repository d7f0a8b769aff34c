/**
 * Programs that live on and are talked to while they run, over real pipes or a terminal. Next to `exec.ts` the only place
 * of the agent that starts programs; argument arrays, never a shell.
 *
 * Real pipes, because Node's own "pipes" are sockets, and `/dev/stdout` cannot be opened on a socket.
 */
import { closeSync, fchownSync } from 'node:fs';
import { Socket } from 'node:net';
import { closeAll, type Ending, makePipe, startProgram } from './program.ts';
import { type Input, openTerminal } from './terminal.ts';

/** A background process of the payload may keep its output open: with nothing said for so long, it is not waited for. */
const ORPHAN_SILENCE_MS = 1000;

export interface SpawnOptions {
  cwd: string;
  env: Record<string, string>;
}

export type OutputListener = (channel: 'stdout' | 'stderr', bytes: Uint8Array) => void;

/** A running program. Output waits until `onOutput` is called. */
export interface Spawned extends Input {
  pid: number;
  /** Does nothing without a terminal. */
  resize(width: number, height: number): void;
  onOutput(listener: OutputListener): void;
  pauseOutput(): void;
  resumeOutput(): void;
  /** After the last output. 0-255, 128+n for signal n. */
  exited: Promise<number>;
}

/** A stream of output that can be held back; shared by pipes and terminals. */
interface Output {
  channel: 'stdout' | 'stderr';
  stream: Socket;
  /** What is left to read once the stream has closed. */
  readRest?: () => Uint8Array;
}

const codeOf = (ending: Ending) => ('code' in ending ? ending.code : 128 + ending.signal);

/** Joins a child's exit and the ends of its outputs. */
function supervise(
  ended: Promise<Ending>,
  outputs: Output[],
): Pick<Spawned, 'onOutput' | 'pauseOutput' | 'resumeOutput' | 'exited'> {
  let paused = false;
  let lastHeardAt = performance.now();
  let tell: OutputListener = () => {};
  const closed = Promise.all(
    outputs.map(async ({ channel, stream, readRest }) => {
      await new Promise<void>((resolve) => stream.once('close', () => resolve()));
      const rest = readRest?.();
      if (rest?.length) tell(channel, rest);
    }),
  );
  for (const { stream } of outputs) stream.on('error', () => stream.destroy());

  const exited = ended.then(async (ending) => {
    lastHeardAt = performance.now();
    const orphanWatch = setInterval(() => {
      if (paused) lastHeardAt = performance.now();
      if (performance.now() - lastHeardAt < ORPHAN_SILENCE_MS) return;
      for (const { stream } of outputs) stream.destroy();
    }, ORPHAN_SILENCE_MS / 4);
    await closed;
    clearInterval(orphanWatch);
    return codeOf(ending);
  });

  return {
    exited,
    onOutput: (listener) => {
      tell = listener;
      for (const { channel, stream } of outputs) {
        stream.on('data', (bytes: Buffer) => {
          lastHeardAt = performance.now();
          listener(channel, bytes);
        });
        if (!paused) stream.resume();
      }
    },
    pauseOutput: () => {
      paused = true;
      for (const { stream } of outputs) stream.pause();
    },
    resumeOutput: () => {
      paused = false;
      for (const { stream } of outputs) stream.resume();
    },
  };
}

/**
 * Starts a program with three pipes. `owner` is who may open `/dev/stdin` and friends again inside. Throws when it cannot
 * be started.
 */
export function spawnPiped(
  file: string,
  args: readonly string[],
  options: SpawnOptions & { owner: { uid: number; gid: number } },
): Spawned {
  const pipes = [makePipe(), makePipe(), makePipe()] as const;
  const [stdin, stdout, stderr] = pipes;
  const theirs = [stdin.readFd, stdout.writeFd, stderr.writeFd] as const;
  const start = () => {
    try {
      for (const fd of theirs) fchownSync(fd, options.owner.uid, options.owner.gid);
      return startProgram(file, args, { ...options, stdio: theirs, newSession: true });
    } catch (error) {
      closeAll([stdin.writeFd, stdout.readFd, stderr.readFd]);
      throw error;
    } finally {
      closeAll(theirs);
    }
  };
  const program = start();
  const input = new Socket({ fd: stdin.writeFd, readable: false, writable: true });
  // The program closed its input: what is still written goes nowhere, as in a shell's pipe.
  input.on('error', () => input.destroy());
  const outputs: Output[] = [
    { channel: 'stdout', stream: new Socket({ fd: stdout.readFd, readable: true, writable: false }) },
    { channel: 'stderr', stream: new Socket({ fd: stderr.readFd, readable: true, writable: false }) },
  ];
  for (const { stream } of outputs) stream.pause();
  const supervised = supervise(program.exited, outputs);
  void program.exited.then(() => input.destroy());
  return {
    pid: program.pid,
    write: (bytes) => input.destroyed || input.write(bytes),
    drained: () =>
      new Promise((resolve) => {
        if (input.destroyed || !input.writableNeedDrain) return resolve();
        input.once('drain', resolve);
        input.once('close', resolve);
      }),
    endInput: () => {
      if (!input.destroyed) input.end();
    },
    resize: () => {},
    ...supervised,
  };
}

/** Starts a program in a session of its own with a new terminal of the given size. Throws when it cannot be started. */
export function spawnTerminal(
  file: string,
  args: readonly string[],
  options: SpawnOptions & { width: number; height: number },
): Spawned {
  const terminal = openTerminal(options.width, options.height);
  const start = () => {
    try {
      const { slaveFd } = terminal;
      // setsid gives it the controlling terminal and becomes the program: the pid stays.
      return startProgram('setsid', ['--ctty', '--', file, ...args], {
        ...options,
        stdio: [slaveFd, slaveFd, slaveFd],
      });
    } catch (error) {
      terminal.stream.destroy();
      terminal.readRest();
      throw error;
    } finally {
      closeSync(terminal.slaveFd);
    }
  };
  const program = start();
  const output: Output = { channel: 'stdout', stream: terminal.stream, readRest: terminal.readRest };
  return {
    pid: program.pid,
    ...terminal.input,
    resize: terminal.resize,
    ...supervise(program.exited, [output]),
  };
}
