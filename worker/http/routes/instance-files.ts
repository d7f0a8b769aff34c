/** `/1.0/instances/<name>/files` (lxd-api 7.4): file attributes travel in headers, of both families. */
import { z } from 'zod';
import { badRequest } from '#protocol/errors.ts';
import type { FileHead } from '#protocol/stream.ts';
import { deleteFile, type FilePut, openFile, putFile, readEntries } from '#worker/services/instance-files.ts';
import { sync } from '../envelope.ts';
import { type App, route } from '../route.ts';
import { INSTANCE_PREFIXES, requirePrefix } from './instance-prefix.ts';

const Query = z.object({ path: z.string().optional() });
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
function disposition(path: string): string {
  const name = path.split('/').filter(Boolean).at(-1) ?? '';
  return `inline;filename=${name.replace(/[^\x20-\x7e]|["\\;]/g, '_')}`;
}

/** The answer for one file: bytes, a symlink's target, or a directory's names. */
export async function fileResponse(
  path: string,
  head: FileHead,
  body: ReadableStream<Uint8Array> | null,
): Promise<Response> {
  const headers = fileHeaders(head);
  if (head.type === 'directory') return sync(await readEntries(body), headers);
  return new Response(body, {
    headers: {
      ...headers,
      'content-type': 'application/octet-stream',
      'content-disposition': disposition(path),
      'content-length': String(head.sizeBytes),
    },
  });
}

export function instanceFileRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    const path = `/1.0/${prefix}/:name/files` as const;
    const shared = { path, tag: 'instances', query: Query, access: 'trusted' } as const;

    route(
      app,
      { ...shared, method: 'get', summary: 'Read a file or list a directory', answer: 'raw' },
      async ({ ctx, params, query, project, request }) => {
        requirePrefix(prefix);
        const target = { project, name: params.name, path: query.path ?? '' };
        const { head, body } = await openFile(ctx, target);
        const response = await fileResponse(target.path, head, body);
        if (request.method !== 'HEAD') return response;
        await response.body?.cancel();
        return new Response(null, { headers: response.headers });
      },
    );

    route(
      app,
      { ...shared, method: 'post', summary: 'Write a file, directory or symlink', answer: 'sync' },
      async ({ ctx, params, query, project, request }) => {
        requirePrefix(prefix);
        const put = readPut(request.headers);
        const target = { project, name: params.name, path: query.path ?? '' };
        await putFile(ctx, target, put, put.type === 'directory' ? null : request.body);
        return sync();
      },
    );

    route(
      app,
      { ...shared, method: 'delete', summary: 'Delete a file or an empty directory', answer: 'sync' },
      async ({ ctx, params, query, project }) => {
        requirePrefix(prefix);
        await deleteFile(ctx, { project, name: params.name, path: query.path ?? '' });
        return sync();
      },
    );
  }
}
