/** Reading `/proc` of other processes. A process that is gone answers null, never an error. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const GONE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR']);

const isGone = (error: unknown) =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && GONE.has(error.code);

function orNull<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** A file of `/proc/<pid>` as text. Throws only for what is not "gone" (no permission). */
export const readProc = (pid: number, file: string): string | null =>
  orNull(() => readFileSync(`/proc/${pid}/${file}`, 'utf8'));

/** The process's arguments; null when it is gone or a zombie, which has none. */
export function commandLine(pid: number): string[] | null {
  const text = readProc(pid, 'cmdline');
  return text ? text.replace(/\0+$/, '').split('\0') : null;
}

/** Direct children of a process's main thread. */
export function childrenOf(pid: number): number[] {
  const text = readProc(pid, `task/${pid}/children`) ?? '';
  return text.split(' ').filter(Boolean).map(Number);
}

/** The exit status (0-255, 128+n for signal n) of a process that has ended but whose parent has not asked; else null. */
export function zombieStatus(pid: number): number | null {
  const stat = readProc(pid, 'stat');
  // The name before may hold spaces and parentheses; state is the first field after it, the wait status the last.
  const fields = stat
    ?.slice(stat.lastIndexOf(')') + 2)
    .trim()
    .split(' ');
  if (fields?.[0] !== 'Z') return null;
  const waitStatus = Number(fields.at(-1));
  const signal = waitStatus & 0x7f;
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal;
}

/** What `/proc/<pid>/ns/<kind>` names, such as `pid:[4026531836]`. */
export const namespaceOf = (pid: number | 'self', kind: 'pid' | 'net' | 'user'): string | null =>
  orNull(() => readlinkSync(`/proc/${pid}/ns/${kind}`));

/** True when the process has a bit set in one of its signal masks (`SigBlk`, `SigCgt`) for `signal`. */
export function hasSignal(pid: number, mask: 'SigBlk' | 'SigCgt', signal: number): boolean {
  const hex = new RegExp(`^${mask}:\\s*([0-9a-f]+)$`, 'm').exec(readProc(pid, 'status') ?? '')?.[1];
  return hex !== undefined && (BigInt(`0x${hex}`) & (1n << BigInt(signal - 1))) !== 0n;
}

/** The signals a process blocks and catches, as one text to compare; null when it is gone. */
export const signalMasks = (pid: number): string | null =>
  readProc(pid, 'status')
    ?.match(/^Sig(?:Blk|Cgt):.*$/gm)
    ?.join() ?? null;

/** Every process id of this pid namespace at this moment. */
export const listPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number);

/** Sends a signal; false when the process is gone. */
export function sendSignal(pid: number, signal: number): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

export interface WaitOptions {
  /** Null waits for ever. */
  timeoutMs: number | null;
  signal?: AbortSignal;
}

/**
 * Looks every few milliseconds until `done` says so; false on time-out. Rejects with the signal's reason when aborted.
 * For what the kernel gives no event for: a process that is not our child, a freezer that settles.
 */
export async function waitUntil(done: () => boolean, options: WaitOptions): Promise<boolean> {
  const endAt = options.timeoutMs === null ? Number.POSITIVE_INFINITY : performance.now() + options.timeoutMs;
  const startedAt = performance.now();
  while (!done()) {
    options.signal?.throwIfAborted();
    if (performance.now() >= endAt) return false;
    // Never later than a tenth of the time it took: most waits end soon, and one of seconds needs no more than 20 looks a second.
    const pauseMs = Math.min(Math.max(2, (performance.now() - startedAt) / 10), 50);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return true;
}
