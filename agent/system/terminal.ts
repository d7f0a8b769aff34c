/**
 * Pseudo terminals. The master side is kept non-blocking and written to by ourselves: Node's own terminal streams write
 * in blocking mode, and a program that does not read would stop the whole agent.
 */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { lastError, libc } from './libc.ts';

const TIOCSWINSZ = 0x5414;
const F_DUPFD_CLOEXEC = 1030;
/** Above this, the writer is asked to wait. */
const HIGH_WATER_BYTES = 64 * 1024;
/** A full terminal is tried again after so long; it has no event for "writable" that Node would give us. */
const RETRY_MS = 5;
const MAX_SIZE = 0xffff;

/** Where a program's input goes. */
export interface Input {
  /** False when the caller should wait for `drained` before writing more. */
  write(bytes: Uint8Array): boolean;
  drained(): Promise<void>;
  endInput(): void;
}

export interface Terminal {
  slaveFd: number;
  stream: ReadStream;
  input: Input;
  /**
   * To be called once, after the stream has closed: what was still in the kernel. libuv takes a hang-up for the end
   * although up to 64 KiB may be unread.
   */
  readRest(): Uint8Array;
  resize(width: number, height: number): void;
}

function setSize(fd: number, width: number, height: number): void {
  const size = Buffer.alloc(8);
  size.writeUInt16LE(Math.min(Math.max(height, 0), MAX_SIZE), 0);
  size.writeUInt16LE(Math.min(Math.max(width, 0), MAX_SIZE), 2);
  libc('int ioctl(int fd, unsigned long request, void *argument)')(fd, TIOCSWINSZ, size);
}

function openSlave(masterFd: number): number {
  const name = Buffer.alloc(64);
  const ready =
    libc('int grantpt(int fd)')(masterFd) === 0 &&
    libc('int unlockpt(int fd)')(masterFd) === 0 &&
    libc('int ptsname_r(int fd, void *name, size_t size)')(masterFd, name, name.length) === 0;
  if (!ready) throw lastError('openpty', '/dev/ptmx');
  return openSync(name.toString('latin1', 0, name.indexOf(0)), constants.O_RDWR | constants.O_NOCTTY);
}

/** Writes to the master in order, as fast as the terminal takes it. */
function makeInput(masterFd: number, stream: ReadStream): Input {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  let wakeUps: (() => void)[] = [];

  const settle = () => {
    for (const wakeUp of wakeUps) wakeUp();
    wakeUps = [];
  };
  const flush = () => {
    timer = undefined;
    try {
      for (let head = waiting[0]; head !== undefined && !stream.destroyed; head = waiting[0]) {
        const written = writeSync(masterFd, head);
        waitingBytes -= written;
        if (written === head.length) waiting.shift();
        else waiting[0] = head.subarray(written);
      }
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') {
        timer = setTimeout(flush, RETRY_MS);
        return;
      }
      waiting = [];
      waitingBytes = 0;
    }
    settle();
  };
  stream.once('close', () => {
    clearTimeout(timer);
    waiting = [];
    waitingBytes = 0;
    settle();
  });
  return {
    write: (bytes) => {
      if (stream.destroyed || bytes.length === 0) return true;
      waiting.push(bytes);
      waitingBytes += bytes.length;
      if (timer === undefined) flush();
      return waitingBytes < HIGH_WATER_BYTES;
    },
    drained: () => new Promise((resolve) => (waitingBytes === 0 ? resolve() : wakeUps.push(resolve))),
    // A terminal has no end of input; its programs are hung up on instead.
    endInput: () => {},
  };
}

function readAll(fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  try {
    for (;;) {
      const chunk = Buffer.alloc(HIGH_WATER_BYTES);
      const length = readSync(fd, chunk);
      if (length === 0) break;
      chunks.push(chunk.subarray(0, length));
    }
  } catch {
    // EIO is the end of a terminal without programs, EAGAIN that of one that a background program still has.
  }
  closeSync(fd);
  return Buffer.concat(chunks);
}

/** Opens a new terminal of the given size. The caller closes `slaveFd` once the program has it. */
export function openTerminal(width: number, height: number): Terminal {
  const masterFd = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  let slaveFd: number;
  try {
    setSize(masterFd, width, height);
    slaveFd = openSlave(masterFd);
  } catch (error) {
    closeSync(masterFd);
    throw error;
  }
  // The stream closes its own descriptor.
  const restFd: number = libc('int fcntl(int fd, int command, long argument)')(masterFd, F_DUPFD_CLOEXEC, 0);
  const stream = new ReadStream(masterFd);
  stream.pause();
  return {
    slaveFd,
    stream,
    readRest: () => readAll(restFd),
    input: makeInput(masterFd, stream),
    resize: (newWidth, newHeight) => {
      if (!stream.destroyed) setSize(masterFd, newWidth, newHeight);
    },
  };
}
