/** One file transfer: look, read, write or delete inside an instance's root. */
import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type AppError, badRequest, failed, toWireError } from '#protocol/errors.ts';
import type { QueryParams } from '#protocol/queries.ts';
import type { FileHead } from '#protocol/stream.ts';
import type { InstanceRoot } from '../drivers/instance/driver.ts';
import {
  createFileInRoot,
  listDirectoryInRoot,
  makeDirectoryInRoot,
  makeSymlinkInRoot,
  openFileInRoot,
  removeInRoot,
  resolveLinkInRoot,
  statInRoot,
} from '../drivers/instance/files.ts';
import { type ContentStream, sourceOfFile, sourceOfText } from './content.ts';
import { createFileSink } from './file-sink.ts';

type FileOpen = QueryParams<'file.open'>;
type FilePut = NonNullable<FileOpen['put']>;

/** LXD's modes for what a client names none. */
const DEFAULT_FILE_MODE = 0o644;
const DEFAULT_DIRECTORY_MODE = 0o755;
/** The kernel's limit of a symlink's target. */
const PATH_LIMIT_BYTES = 4096;

/** Carries the content, once. Throws when it fails; nothing half-written is left then. */
export type Carry = () => Promise<void>;

/**
 * Opens what is asked for, or throws what stands in the way. What is left to do then is to carry the content; null when
 * there is none: something was deleted, or a directory made. The root must stay open until then.
 */
export function openTransfer(root: InstanceRoot, request: FileOpen, content: ContentStream | null): Carry | null {
  if (request.action === 'delete') {
    removeInRoot(root, request.path);
    return null;
  }
  const { path, put } = request;
  if (put?.type === 'directory') {
    makeDirectoryInRoot(root, path, { mode: put.mode ?? DEFAULT_DIRECTORY_MODE, ...ownerOf(put) });
    return null;
  }
  if (content === null) throw badRequest('There is content, but no stream for it');
  if (request.action === 'get') return openForReading(root, path, content);
  if (put === null) throw badRequest('Nothing to put');
  return put.type === 'symlink' ? () => putSymlink(root, path, put, content) : openForWriting(root, path, put, content);
}

const ownerOf = (put: FilePut) => ({ uid: put.uid ?? 0, gid: put.gid ?? 0 });

function openForReading(root: InstanceRoot, path: string, content: ContentStream): Carry {
  const { type, mode, uid, gid, mtime } = statInRoot(root, path);
  const attributes = { mode, uid, gid, modifiedAt: mtime.toISOString() };
  const send = (type: FileHead['type'], source: ReturnType<typeof sourceOfText>) =>
    content.send({ type, ...attributes, sizeBytes: source.sizeBytes }, source);
  if (type === 'directory') {
    const names = listDirectoryInRoot(root, path);
    return () => send(type, sourceOfText(JSON.stringify(names)));
  }
  if (type === 'symlink') {
    const target = resolveLinkInRoot(root, path);
    return () => send(type, sourceOfText(target));
  }
  if (type === 'other') throw badRequest(`"${path}" is not a regular file`);
  const fd = openFileInRoot(root, path);
  return async () => {
    try {
      await send(type, sourceOfFile(fd, fstatSync(fd).size));
    } finally {
      closeSync(fd);
    }
  };
}

/** Written in place, as LXD does; a file that this transfer made does not outlive its failure. */
function openForWriting(root: InstanceRoot, path: string, put: FilePut, content: ContentStream): Carry {
  const append = put.write === 'append';
  const { fd, existed } = createFileInRoot(root, path, {
    append,
    keep: true,
    mode: put.mode ?? DEFAULT_FILE_MODE,
    ...ownerOf(put),
  });
  const discard = () => {
    if (!existed) removeInRoot(root, path);
  };
  return async () => {
    try {
      await writeContent(content, createFileSink(fd, { append }));
    } catch (error) {
      discard();
      throw await report(content, error);
    }
    // Without an answer the client may have been told that all is well: then the file stays.
    if (await content.conclude(null)) return;
    discard();
    throw clientGone();
  };
}

/** The file is closed at the end in any case. */
async function writeContent(content: ContentStream, file: Writable): Promise<void> {
  try {
    await pipeline(await content.receive(), file);
  } finally {
    file.destroy();
    if (!file.closed) await once(file, 'close');
  }
}

async function putSymlink(root: InstanceRoot, path: string, put: FilePut, content: ContentStream): Promise<void> {
  try {
    const target = await readText(content);
    makeSymlinkInRoot(root, path, target, ownerOf(put));
  } catch (error) {
    throw await report(content, error);
  }
  if (!(await content.conclude(null))) throw clientGone();
}

async function readText(content: ContentStream): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of await content.receive()) {
    const bytes: Uint8Array = chunk;
    size += bytes.length;
    if (size > PATH_LIMIT_BYTES) throw badRequest('The target of the symlink is too long');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Tells the client why, as far as it still listens. Resolves to the error itself. */
async function report(content: ContentStream, error: unknown): Promise<unknown> {
  await content.conclude(toWireError(error)).catch(() => {});
  return error;
}

const clientGone = (): AppError => failed('The client went away before the end');
