/** Unpacks a tar stream: what the rules let through goes to `tar`, in one pass and without a copy on disk. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, badRequest, failed } from '#protocol/errors.ts';
import { ExecError } from '../../system/exec.ts';
import { startReading } from '../../system/pipe.ts';
import { BLOCK_BYTES } from './tar-header.ts';
import { readTar } from './tar-reader.ts';
import { type ArchiveLayout, createJudge } from './tar-rules.ts';

/** Thousands of small files become few writes. */
const BATCH_BYTES = 128 * 1024;

async function* concatenate(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let batch: Buffer[] = [];
  let size = 0;
  for await (const piece of pieces) {
    batch.push(piece);
    size += piece.length;
    if (size >= BATCH_BYTES) {
      yield Buffer.concat(batch, size);
      batch = [];
      size = 0;
    }
  }
  yield Buffer.concat(batch, size);
}

/**
 * The archive without what must not be unpacked. Throws `bad_request` at the first entry that the rules refuse; nothing
 * of that entry has been passed on then.
 */
export async function* filterTar(source: AsyncIterable<Buffer>, layout: ArchiveLayout): AsyncGenerator<Buffer> {
  const judge = createJudge(layout);
  for await (const { entry, head, body } of readTar(source)) {
    if (judge(entry) === 'drop') continue;
    yield head;
    yield* body();
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

/** Lines of `tar` and `unsquashfs` when the pool is full rather than the archive bad. */
const isFull = (text: string) => /No space left on device|Disk quota exceeded/.test(text);

/** What a failed unpacking tells its user: the archive is to blame unless the pool is full. */
export function unpackError(error: unknown): unknown {
  if (error instanceof AppError) return error;
  if (error instanceof ExecError && isFull(error.stderr)) {
    return failed('Failed unpacking image: No space left on device', error);
  }
  const text = error instanceof Error ? error.message : String(error);
  return badRequest(`Failed unpacking image: ${text}`, error);
}

/**
 * Runs a program that cannot make device nodes, whatever it reads: the second line of defence behind the rules. FIFOs
 * need no capability.
 */
export const WITHOUT_MKNOD = ['setpriv', '--bounding-set=-mknod', '--inh-caps=-mknod', '--'] as const;

/** Unpacks into `directory`, with owners, modes and extended attributes as far as the file system takes them. */
export async function unpackTar(
  source: AsyncIterable<Buffer>,
  layout: ArchiveLayout,
  directory: string,
): Promise<void> {
  const [setpriv, ...options] = WITHOUT_MKNOD;
  const tar = startReading(setpriv, [
    ...options,
    'tar',
    '--extract',
    '--file=-',
    `--directory=${directory}`,
    '--numeric-owner',
    '--same-owner',
    '--preserve-permissions',
    '--xattrs',
    '--xattrs-include=*',
    '--delay-directory-restore',
    '--warning=no-timestamp',
    '--warning=no-xattr-write',
  ]);
  try {
    await pipeline(Readable.from(concatenate(filterTar(source, layout)), { objectMode: false }), tar.stdin);
    await tar.exited;
  } catch (error) {
    // A refused entry or a damaged file speaks for itself; a broken pipe means that tar knows better.
    const brokenPipe = error instanceof Error && 'code' in error && error.code === 'EPIPE';
    if (brokenPipe) await tar.exited.catch((reason: unknown) => Promise.reject(unpackError(reason)));
    throw unpackError(error);
  } finally {
    tar.kill();
    await tar.exited.catch(() => {});
  }
}
