/** What an SFTP session does to the files of an instance: each request is one function from its packet to its answer. */
import { close, closeSync, constants, openSync, read, write } from 'node:fs';
import { posix } from 'node:path';
import { promisify } from 'node:util';
import { AppError, badRequest, conflict } from '#protocol/errors.ts';
import type { InstanceRoot } from '../../drivers/instance/driver.ts';
import {
  type AttributeChange,
  changeAttributes,
  changeAttributesInRoot,
  type FileAttributes,
  readAttributes,
  readAttributesInRoot,
  readLinkInRoot,
  renameInRoot,
} from '../../drivers/instance/file-attributes.ts';
import {
  createFileInRoot,
  explain,
  listDirectoryInRoot,
  makeDirectoryInRoot,
  makeSymlinkInRoot,
  openDirectoryInRoot,
  openFileInRoot,
  removeInRoot,
  statInRoot,
  statPathInRoot,
} from '../../drivers/instance/files.ts';
import type { Handles } from './handles.ts';
import { listingLine } from './listing.ts';
import { type Attributes, encodeAttributes, FX, field, type PacketReader, uint32 } from './wire.ts';

const readFd = promisify(read);
const writeFd = promisify(write);
const closeFd = promisify(close);

/** Flags of an open. */
const READ = 1;
const WRITE = 2;
const APPEND = 4;
const CREATE = 8;
const TRUNCATE = 16;
const EXCLUSIVE = 32;

const DEFAULT_FILE_MODE = 0o644;
const DEFAULT_DIRECTORY_MODE = 0o755;
/** Of one answer: what clients take, whatever they ask for. */
const READ_LIMIT_BYTES = 256 * 1024;
/** Names in one answer. */
const NAMES_AT_ONCE = 100;

/** Kind of the answer and what is in it, or a status: of success, or of the end for what is read on and on. */
export type Reply = readonly [kind: number, ...parts: Uint8Array[]] | 'ok' | 'end';
export type Act = (root: InstanceRoot, packet: PacketReader, handles: Handles) => Reply | Promise<Reply>;

const toWire = ({ size, mode, uid, gid, accessedMs, modifiedMs }: FileAttributes): Attributes => ({
  size,
  owner: { uid, gid },
  mode,
  times: { accessed: seconds(accessedMs), modified: seconds(modifiedMs) },
});

/** Times before 1970 and after 2106 cannot be told. */
const seconds = (ms: number): number => Math.min(Math.max(Math.floor(ms / 1000), 0), 0xffffffff);

const toChange = ({ times, ...rest }: Attributes): AttributeChange => ({
  ...rest,
  ...(times === undefined ? {} : { times: { accessedMs: times.accessed * 1000, modifiedMs: times.modified * 1000 } }),
});

const attributes = (found: FileAttributes): Reply => [FX.attributes, encodeAttributes(toWire(found))];

const nameEntry = (name: string, found: Attributes): Buffer =>
  Buffer.concat([field(name), field(listingLine(name, found)), encodeAttributes(found)]);

const names = (entries: Buffer[]): Reply => [FX.name, uint32(entries.length), ...entries];

/** What is at `path`, a link not followed; null when there is nothing. */
function findAttributes(root: InstanceRoot, path: string): FileAttributes | null {
  try {
    return readAttributesInRoot(root, path, false);
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return null;
    throw error;
  }
}

function refuseExisting(root: InstanceRoot, path: string): void {
  if (findAttributes(root, path) !== null) throw conflict(`File "${path}" already exists`);
}

/** A directory, too: clients open it to see what it is, and list it by its name then. */
const openForReading = (root: InstanceRoot, path: string): number =>
  statPathInRoot(root, path)?.isDirectory() ? openDirectoryInRoot(root, path) : openFileInRoot(root, path);

function openForWriting(root: InstanceRoot, path: string, flags: number, wanted: Attributes): number {
  if (flags & EXCLUSIVE) refuseExisting(root, path);
  if (!(flags & CREATE) && statPathInRoot(root, path) === null) throw new AppError('not_found', 'Not Found');
  const { fd } = createFileInRoot(root, path, {
    append: (flags & APPEND) !== 0,
    keep: (flags & TRUNCATE) === 0,
    mode: wanted.mode ?? DEFAULT_FILE_MODE,
    uid: wanted.owner?.uid ?? 0,
    gid: wanted.owner?.gid ?? 0,
  });
  if (!(flags & READ)) return fd;
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDWR | (flags & APPEND ? constants.O_APPEND : 0));
  } finally {
    closeSync(fd);
  }
}

const open: Act = (root, packet, handles) => {
  const path = packet.text();
  const flags = packet.uint32();
  const wanted = packet.attributes();
  const openNow = () => (flags & WRITE ? openForWriting(root, path, flags, wanted) : openForReading(root, path));
  return [FX.handle, field(handles.add(() => ({ type: 'file', path, fd: openNow() })))];
};

const readFile: Act = async (_root, packet, handles) => {
  const { fd, path } = handles.file(packet.text());
  const position = packet.uint64();
  const buffer = Buffer.allocUnsafe(Math.min(packet.uint32(), READ_LIMIT_BYTES));
  const { bytesRead } = await readFd(fd, buffer, 0, buffer.length, position).catch((error: unknown) => {
    throw explain(error, path);
  });
  return bytesRead === 0 ? 'end' : [FX.data, field(buffer.subarray(0, bytesRead))];
};

const writeFile: Act = async (_root, packet, handles): Promise<Reply> => {
  const { fd, path } = handles.file(packet.text());
  const position = packet.uint64();
  const bytes = packet.bytes();
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writeFd(fd, bytes, done, bytes.length - done, position + done).catch(
      (error: unknown) => {
        throw explain(error, path);
      },
    );
    done += bytesWritten;
  }
  return 'ok';
};

const openDirectory: Act = (root, packet, handles) => {
  const path = packet.text();
  return [FX.handle, field(handles.add(() => ({ type: 'directory', path, left: listDirectoryInRoot(root, path) })))];
};

const readDirectory: Act = (root, packet, handles) => {
  const directory = handles.directory(packet.text());
  const entries: Buffer[] = [];
  for (const name of directory.left.splice(0, NAMES_AT_ONCE)) {
    // What has gone since is not named any more.
    const found = findAttributes(root, posix.join(directory.path, name));
    if (found !== null) entries.push(nameEntry(name, toWire(found)));
  }
  return entries.length > 0 || directory.left.length > 0 ? names(entries) : 'end';
};

const rename =
  (mayReplace: boolean): Act =>
  (root, packet) => {
    const from = packet.text();
    const to = packet.text();
    if (!mayReplace) refuseExisting(root, to);
    renameInRoot(root, from, to);
    return 'ok';
  };

const remove =
  (wanted: 'directory' | 'file'): Act =>
  (root, packet) => {
    const path = packet.text();
    const isDirectory = statInRoot(root, path).type === 'directory';
    if (isDirectory !== (wanted === 'directory'))
      throw badRequest(`"${path}" is ${isDirectory ? 'a' : 'no'} directory`);
    removeInRoot(root, path);
    return 'ok';
  };

const POSIX_RENAME = 'posix-rename@openssh.com';
/** Beyond the version's own, with the version of each. */
export const EXTENSIONS = [[POSIX_RENAME, '1']] as const;

/** Kind of the request → what it does. */
export const ACTS: Readonly<Record<number, Act>> = {
  [FX.open]: open,
  [FX.read]: readFile,
  [FX.write]: writeFile,
  [FX.opendir]: openDirectory,
  [FX.readdir]: readDirectory,
  [FX.close]: async (_root, packet, handles): Promise<Reply> => {
    const handle = handles.take(packet.text());
    if (handle.type === 'file') await closeFd(handle.fd);
    return 'ok';
  },
  [FX.stat]: (root, packet) => attributes(readAttributesInRoot(root, packet.text(), true)),
  [FX.lstat]: (root, packet) => attributes(readAttributesInRoot(root, packet.text(), false)),
  [FX.fstat]: (root, packet, handles) => attributes(readAttributes(root, handles.file(packet.text()).fd)),
  [FX.setstat]: (root, packet) => {
    changeAttributesInRoot(root, packet.text(), toChange(packet.attributes()));
    return 'ok';
  },
  [FX.fsetstat]: (root, packet, handles) => {
    const { fd, path } = handles.file(packet.text());
    try {
      changeAttributes(root, fd, toChange(packet.attributes()));
    } catch (error) {
      throw explain(error, path);
    }
    return 'ok';
  },
  [FX.mkdir]: (root, packet) => {
    const path = packet.text();
    refuseExisting(root, path);
    makeDirectoryInRoot(root, path, { mode: packet.attributes().mode ?? DEFAULT_DIRECTORY_MODE, uid: 0, gid: 0 });
    return 'ok';
  },
  [FX.remove]: remove('file'),
  [FX.rmdir]: remove('directory'),
  [FX.rename]: rename(false),
  [FX.realpath]: (_root, packet) => names([nameEntry(posix.resolve('/', packet.text()), {})]),
  [FX.readlink]: (root, packet) => names([nameEntry(readLinkInRoot(root, packet.text()), {})]),
  // The target comes first, as all clients send it and no draft says.
  [FX.symlink]: (root, packet) => {
    const target = packet.text();
    makeSymlinkInRoot(root, packet.text(), target, { uid: 0, gid: 0 });
    return 'ok';
  },
  [FX.extended]: (root, packet, handles) => {
    const name = packet.text();
    if (name !== POSIX_RENAME) throw new AppError('not_implemented', `"${name}" is not supported`);
    return rename(true)(root, packet, handles);
  },
};
