/** The C library through koffi, loaded at first use: the system calls that Node does not offer. */
import os from 'node:os';
import koffi from 'koffi';

type Native = ReturnType<ReturnType<typeof koffi.load>['func']>;

const loaded = new Map<string, Native>();

/** A function of libc by its C prototype. Calls run on the calling thread, at once. */
export function libc(prototype: string): Native {
  const known = loaded.get(prototype);
  if (known) return known;
  const made = koffi.load('libc.so.6').func(prototype);
  loaded.set(prototype, made);
  return made;
}

const ERRNO_NAMES = new Map(Object.entries(os.constants.errno).map(([name, number]) => [number, name]));

/** The error of the libc call that has just failed, shaped as Node's own (`code`). */
export function lastError(call: string, subject: string): NodeJS.ErrnoException {
  const code = ERRNO_NAMES.get(koffi.errno()) ?? 'EIO';
  return Object.assign(new Error(`${code}: ${call} '${subject}'`), { code });
}
