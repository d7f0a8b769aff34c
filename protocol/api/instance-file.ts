/** A file's attributes in the headers of both client families, and where it is (lxd-api 7.4). Pure. */
import { badRequest } from '#protocol/errors.ts';
import type { QueryParams } from '#protocol/queries.ts';
import type { FileHead } from '#protocol/stream.ts';

const PATH_LIMIT_BYTES = 4096;
export type FilePut = NonNullable<QueryParams<'file.open'>['put']>;

/** The largest id but one: the last means "none" to the kernel. */
const MAX_ID = 4_294_967_294;

/** A custom header of either family; LXD's own wins. */
function attribute(headers: Headers, name: string): string | null {
  return headers.get(`x-lxd-${name}`) ?? headers.get(`x-incus-${name}`);
}

function readId(headers: Headers, name: 'uid' | 'gid'): number | null {
  const text = attribute(headers, name);
  if (text === null || text === '') return null;
  const id = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (id < 0 || id > MAX_ID) throw badRequest(`Invalid ${name} "${text}"`);
  return id;
}

function readMode(headers: Headers): number | null {
  const text = attribute(headers, 'mode');
  if (text === null || text === '') return null;
  const mode = /^(0o?)?[0-7]{1,5}$/.test(text) ? Number.parseInt(text.replace(/^0o/, ''), 8) : -1;
  if (mode < 0 || mode > 0o7777) throw badRequest(`Invalid mode "${text}"`);
  return mode;
}

function oneOf<T extends string>(headers: Headers, name: string, values: readonly [T, ...T[]]): T {
  const text = attribute(headers, name) || values[0];
  const found = values.find((value) => value === text);
  if (found === undefined) throw badRequest(`Invalid ${name} "${text}"`);
  return found;
}

/** What a push wants to make. Throws `bad_request` for a header that cannot be meant. */
export function readPut(headers: Headers): FilePut {
  const type = oneOf(headers, 'type', ['file', 'directory', 'symlink']);
  const write = oneOf(headers, 'write', ['overwrite', 'append']);
  if (write === 'append' && type !== 'file') throw badRequest(`Cannot append to a ${type}`);
  return { type, mode: readMode(headers), uid: readId(headers, 'uid'), gid: readId(headers, 'gid'), write };
}

/** `2026-11-21 02:50:55 +0000 UTC`, as Go prints times. */
const goTime = (iso: string): string => {
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) ? iso : `${time.toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC`;
};

/** The attributes of a file, in both header families. */
export function fileHeaders(head: FileHead): Record<string, string> {
  const attributes = {
    uid: String(head.uid),
    gid: String(head.gid),
    mode: (head.mode & 0o7777).toString(8).padStart(4, '0'),
    type: head.type,
    modified: goTime(head.modifiedAt),
  };
  return Object.fromEntries(
    Object.entries(attributes).flatMap(([name, value]) => [
      [`x-lxd-${name}`, value],
      [`x-incus-${name}`, value],
    ]),
  );
}

/** A header-safe file name: what is not plain ASCII is replaced, quotes where Go's client wants none are left out. */
export function disposition(path: string): string {
  const name = path.split('/').filter(Boolean).at(-1) ?? '';
  return `inline;filename=${name.replace(/[^\x20-\x7e]|["\\;]/g, '_')}`;
}

/** The path with its leading slash. Throws `bad_request` for one that no file can have. */
export function checkPath(path: string): string {
  if (path === '') throw badRequest('Missing path argument');
  if (path.includes('\0')) throw badRequest('Invalid path: NUL is not allowed');
  const absolute = path.startsWith('/') ? path : `/${path}`;
  if (new TextEncoder().encode(absolute).length > PATH_LIMIT_BYTES) throw badRequest('Invalid path: too long');
  return absolute;
}
