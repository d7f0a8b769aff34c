/**
 * Files of an instance (lxd-api 7.4). The member is asked to open the file and takes or brings its content by a stream; the
 * bytes go through that stream from or to the HTTP body. Works for stopped instances too.
 */
import { z } from 'zod';
import { checkPath, type FilePut } from '#protocol/api/instance-file.ts';
import { AppError, fromWireError, unavailable, WireError } from '#protocol/errors.ts';
import type { QueryParams } from '#protocol/queries.ts';
import { FILE_HEAD_HEADER, FileHead } from '#protocol/stream.ts';
import { parseJson } from '#worker/lib/json.ts';
import type { Authorized } from './context.ts';
import { getInstance, requireOnline } from './instances.ts';

/** The member only has to open the file; more means that it hangs. */
const OPEN_TIMEOUT_MS = 10_000;

export interface FileTarget {
  project: string;
  name: string;
  /** As the caller gave it; the leading slash may be missing. */
  path: string;
}

/** What a file is, and its content: bytes, a symlink's target, or a directory's names for `readEntries`. */
export interface OpenFile {
  head: FileHead;
  body: ReadableStream<Uint8Array> | null;
}

/** Throws 404 `Not Found` for a file that is not there. */
export async function openFile(ctx: Authorized, target: FileTarget): Promise<OpenFile> {
  const response = await transfer(ctx, await locate(ctx, target), { action: 'get', put: null }, null);
  const head = FileHead.safeParse(parseJson(response.headers.get(FILE_HEAD_HEADER) ?? ''));
  if (head.success) return { head: head.data, body: response.body };
  await response.body?.cancel();
  throw unreadable();
}

/** The names in a directory that `openFile` has opened. */
export async function readEntries(body: ReadableStream<Uint8Array> | null): Promise<string[]> {
  const names = z.array(z.string()).safeParse(parseJson(await new Response(body).text()));
  if (!names.success) throw unreadable();
  return names.data;
}

/** Writes a file, makes a directory or a symlink. Returns when it is complete on the host. */
export async function putFile(
  ctx: Authorized,
  target: FileTarget,
  put: FilePut,
  body: ReadableStream<Uint8Array> | null,
): Promise<void> {
  const located = await locate(ctx, target);
  if (put.type === 'directory') return order(ctx, located, { action: 'put', put });
  const response = await transfer(ctx, located, { action: 'put', put }, body ?? emptyBody());
  await response.body?.cancel();
}

/** Deletes a file or an empty directory. */
export async function deleteFile(ctx: Authorized, target: FileTarget): Promise<void> {
  await order(ctx, await locate(ctx, target), { action: 'delete', put: null });
}

/** Tells the stream's object that something is sent to the member, if only nothing. */
const emptyBody = (): ReadableStream<Uint8Array> => new Blob([]).stream();

const unreadable = () => unavailable('The cluster member answered with an unreadable file');

interface Located {
  member: string;
  params: { project: string; name: string; path: string };
}

type Wish = Pick<QueryParams<'file.open'>, 'action' | 'put'>;

/** Throws `unavailable` when the instance's member is away. */
async function locate(ctx: Authorized, { project, name, path }: FileTarget): Promise<Located> {
  const params = { project, name, path: checkPath(path) };
  const loaded = await getInstance(ctx, project, name);
  requireOnline(loaded);
  return { member: loaded.row.member, params };
}

/** What has no content needs no stream: the member's answer says that it is done. */
async function order(ctx: Authorized, { member, params }: Located, wish: Wish): Promise<void> {
  const asked = ctx.objects.links.query(member, 'file.open', { ...params, ...wish, streamId: null }, OPEN_TIMEOUT_MS);
  await asked.catch((error: unknown) => {
    throw plainMissing(error);
  });
}

/**
 * Asks the member and starts the transfer at once; the stream joins them. When the member refuses, its error is the one that
 * is told, and the stream ends with it.
 */
async function transfer(
  ctx: Authorized,
  { member, params }: Located,
  wish: Wish,
  body: ReadableStream<Uint8Array> | null,
): Promise<Response> {
  const { links, streams } = ctx.objects;
  const streamId = ctx.newId();
  await streams.open({ id: streamId, member, kind: 'file', fds: {}, interactive: false });
  const refusal: { error: unknown } = { error: null };
  const query = { ...params, ...wish, streamId };
  const asked = links.query(member, 'file.open', query, OPEN_TIMEOUT_MS).catch(async (error) => {
    refusal.error = error;
    await streams.abort(streamId, error instanceof AppError ? error.message : 'The file could not be opened');
  });
  try {
    const response = await streams.transfer(streamId, body);
    if (response.status >= 400) throw await readError(response);
    // The answer comes when the file is open, long before the bytes end: only its failure matters.
    asked.catch(() => {});
    return response;
  } catch (error) {
    // The refusal may still be on its way when the stream has failed because of it.
    await asked.catch(() => {});
    throw plainMissing(refusal.error ?? error);
  }
}

/** LXD says `Not Found` for files, whatever was looked for. */
const plainMissing = (error: unknown): unknown =>
  error instanceof AppError && error.code === 'not_found'
    ? new AppError('not_found', 'Not Found', { cause: error })
    : error;

async function readError(response: Response): Promise<AppError> {
  const body: unknown = parseJson(await response.text());
  const error = typeof body === 'object' && body !== null && 'error' in body ? WireError.safeParse(body.error) : null;
  return error?.success ? fromWireError(error.data) : unavailable('The transfer failed');
}
