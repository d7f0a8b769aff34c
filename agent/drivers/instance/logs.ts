/** liblxc's log files: kept per start, read from their end. */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
} from 'node:fs';
import { join } from 'node:path';
import { AppError } from '#protocol/errors.ts';

const TAIL_BYTES = 64 * 1024;
const LOG_FILE = 'lxc.log';

/** Puts the last start's log aside, so that a failing start's lines are its own. */
export function rotateLog(logDir: string): void {
  mkdirSync(logDir, { recursive: true, mode: 0o700 });
  const path = join(logDir, LOG_FILE);
  if (existsSync(path)) renameSync(path, `${path}.old`);
}

/** The first ERROR of a start is its cause, the later ones its echoes. `lxc-start c1 2026… ERROR conf - ../src/…:12 - text`. */
export function usefulLine(text: string): string | null {
  const match = /^\S+ \S+ \S+ ERROR +\S+ - \S+ - (.+)$/m.exec(text);
  return match?.[1]?.trim() ?? null;
}

/** Why the last start failed, in liblxc's words. */
export function lastStartError(logDir: string): string | null {
  const path = join(logDir, LOG_FILE);
  return existsSync(path) ? usefulLine(readFileSync(path, 'utf8')) : null;
}

/** The last 64 KiB of a log file. Throws `not_found` for what is no regular file of that directory. */
export function readTail(logDir: string, file: string): string {
  const missing = (cause?: unknown) => new AppError('not_found', 'Not Found', { cause });
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/.test(file)) throw missing();
  let fd: number;
  try {
    fd = openSync(join(logDir, file), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw missing(error);
  }
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw missing();
    const bytes = Buffer.alloc(Math.min(stats.size, TAIL_BYTES));
    const count = readSync(fd, bytes, 0, bytes.length, stats.size - bytes.length);
    return bytes.toString('utf8', 0, count);
  } finally {
    closeSync(fd);
  }
}
