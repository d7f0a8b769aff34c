/** How a file is shown to people: clients print what `ls -l` would say without looking at it. Pure. */
import type { Attributes } from './wire.ts';

const TYPES = new Map([
  [0o140000, 's'],
  [0o120000, 'l'],
  [0o100000, '-'],
  [0o060000, 'b'],
  [0o040000, 'd'],
  [0o020000, 'c'],
  [0o010000, 'p'],
]);
const RIGHTS = ['---', '--x', '-w-', '-wx', 'r--', 'r-x', 'rw-', 'rwx'];
const TYPE_BITS = 0o170000;

/** One line; only the name where nothing else is known. */
export function listingLine(name: string, { mode, owner, size, times }: Attributes): string {
  if (mode === undefined || owner === undefined || times === undefined) return name;
  const rights = [6, 3, 0].map((shift) => RIGHTS[(mode >> shift) & 7]).join('');
  const when = new Date(times.modified * 1000).toISOString().slice(0, 16).replace('T', ' ');
  const cells = [`${TYPES.get(mode & TYPE_BITS) ?? '?'}${rights}`, owner.uid, owner.gid, size ?? 0];
  const [kind = '', ...numbers] = cells.map((cell) => String(cell).padStart(8));
  return [kind.trim(), ...numbers, when, name].join(' ');
}
