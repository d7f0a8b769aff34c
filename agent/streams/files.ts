/** One file transfer over its stream: look, read, write or delete inside an instance's root. */
import { closeSync, fstatSync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import { AppError, badRequest, toWireError } from '#protocol/errors.ts';
import type { QueryParams } from '#protocol/queries.ts';
import { CHANNEL_INPUT, CHUNK_BYTES, type FileHead } from '#protocol/stream.ts';
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
import type { Log } from '../log.ts';
import type { AgentStream } from './stream.ts';

type FileOpen = QueryParams<'file.open'>;
type FilePut = NonNullable<FileOpen['put']>;

const readFd = promisify(read);
const writeFd = promisify(write);

/** LXD's modes for what a client names none. */
const DEFAULT_FILE_MODE = 0o644;
const DEFAULT_DIRECTORY_MODE = 0o755;
/** The kernel's limit of a symlink's target. */
const PATH_LIMIT_BYTES = 4096;

/** Serves the transfer to its end and closes stream and root. Never throws: errors go to the peer. */
export async function serveFile(
  deps: { log: Log },
  stream: AgentStream,
  root: InstanceRoot,
  request: FileOpen,
): Promise<void> {
  try {
    if (request.action === 'get') await sendFile(stream, root, request.path);
    else {
      if (request.action === 'delete') removeInRoot(root, request.path);
      else if (request.put !== null) await putEntry(stream, root, request.path, request.put);
      else throw badRequest('Nothing to put');
      stream.tell({ type: 'done' });
    }
  } catch (error) {
    if (!(error instanceof AppError)) deps.log.error('file.transfer.failed', { action: request.action, err: error });
    stream.tell({ type: 'error', error: toWireError(error) });
  } finally {
    root.close();
    await stream.close();
  }
}

async function sendFile(stream: AgentStream, root: InstanceRoot, path: string): Promise<void> {
  const stat = statInRoot(root, path);
  if (stat.type === 'other') throw badRequest(`"${path}" is not a regular file`);
  const fd = stat.type === 'file' ? openFileInRoot(root, path) : null;
  try {
    const head: FileHead = {
      type: stat.type,
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      sizeBytes: fd === null ? 0 : fstatSync(fd).size,
      modifiedAt: stat.mtime.toISOString(),
      target: stat.type === 'symlink' ? resolveLinkInRoot(root, path) : null,
      entries: stat.type === 'directory' ? listDirectoryInRoot(root, path) : null,
    };
    stream.tell({ type: 'head', head });
    if (fd === null) return;
    await stream.started;
    await sendContent(stream, fd, head.sizeBytes);
    stream.tell({ type: 'end', channel: CHANNEL_INPUT });
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/** Exactly as many bytes as the head said, also when the file grows meanwhile. */
async function sendContent(stream: AgentStream, fd: number, sizeBytes: number): Promise<void> {
  for (let at = 0; at < sizeBytes; ) {
    const buffer = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes - at));
    const { bytesRead } = await readFd(fd, buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw badRequest('The file became shorter while it was read');
    await stream.send(CHANNEL_INPUT, buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

async function putEntry(stream: AgentStream, root: InstanceRoot, path: string, put: FilePut): Promise<void> {
  const owner = { uid: put.uid ?? 0, gid: put.gid ?? 0 };
  switch (put.type) {
    case 'directory':
      return makeDirectoryInRoot(root, path, { mode: put.mode ?? DEFAULT_DIRECTORY_MODE, ...owner });
    case 'symlink':
      return makeSymlinkInRoot(root, path, await readText(stream), owner);
    case 'file':
      return putFile(stream, root, path, put);
  }
}

/** Written in place, as LXD does; a file that this transfer made does not outlive its failure. */
async function putFile(stream: AgentStream, root: InstanceRoot, path: string, put: FilePut): Promise<void> {
  const { fd, existed } = createFileInRoot(root, path, {
    append: put.write === 'append',
    mode: put.mode ?? DEFAULT_FILE_MODE,
    uid: put.uid ?? 0,
    gid: put.gid ?? 0,
  });
  try {
    for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) await writeAll(fd, bytes);
  } catch (error) {
    if (!existed) removeInRoot(root, path);
    throw error;
  } finally {
    closeSync(fd);
  }
}

async function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await writeFd(fd, bytes, at, bytes.length - at, null);
    at += bytesWritten;
  }
}

async function readText(stream: AgentStream): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) {
    size += bytes.length;
    if (size > PATH_LIMIT_BYTES) throw badRequest('The target of the symlink is too long');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}
