/** Opens an image file by what it holds, not by its name, and gives its bytes uncompressed and in bounded memory. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { badRequest } from '#protocol/errors.ts';
import { startWriting } from '../../system/pipe.ts';

export type ArchiveFormat = 'tar' | 'gzip' | 'xz' | 'lzma' | 'bzip2' | 'zstd' | 'squashfs';

/** Big enough that a large image costs few turns of the event loop, small enough to keep ten of them in memory. */
const CHUNK_BYTES = 256 * 1024;

const MAGICS: readonly { format: ArchiveFormat; offset: number; hex: string }[] = [
  { format: 'gzip', offset: 0, hex: '1f8b' },
  { format: 'xz', offset: 0, hex: 'fd377a585a00' },
  { format: 'zstd', offset: 0, hex: '28b52ffd' },
  { format: 'bzip2', offset: 0, hex: '425a68' },
  { format: 'lzma', offset: 0, hex: '5d0000' },
  { format: 'squashfs', offset: 0, hex: '68737173' },
  { format: 'tar', offset: 257, hex: '7573746172' },
];

/** Programs for what Node cannot decompress itself; each reads standard input and writes standard output. */
const DECOMPRESSORS = {
  xz: ['xz', '-dc'],
  lzma: ['xz', '-dc', '--format=lzma'],
  bzip2: ['bzip2', '-dc'],
  zstd: ['zstd', '-dcq'],
} as const;

/** The format of a file that begins with `head`, or null. */
export function detectFormat(head: Buffer): ArchiveFormat | null {
  const match = MAGICS.find(({ offset, hex }) => head.toString('hex', offset, offset + hex.length / 2) === hex);
  return match?.format ?? null;
}

/** Reads the format off the file's first bytes; throws `bad_request` for one that is no image. */
export async function readFormat(path: string): Promise<ArchiveFormat> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(512), 0, 512, 0);
    const format = detectFormat(buffer.subarray(0, bytesRead));
    if (format === null) throw badRequest('Unsupported compression');
    return format;
  } finally {
    await file.close();
  }
}

/**
 * The uncompressed bytes of a tar file. A damaged or truncated file ends in an error; leaving the loop early stops the
 * decompressor.
 */
export async function* readUncompressed(
  path: string,
  format: Exclude<ArchiveFormat, 'squashfs'>,
): AsyncGenerator<Buffer> {
  if (format === 'tar') {
    yield* createReadStream(path, { highWaterMark: CHUNK_BYTES });
    return;
  }
  if (format === 'gzip') {
    const compressed = createReadStream(path, { highWaterMark: CHUNK_BYTES });
    yield* pipeline(compressed, createGunzip({ chunkSize: CHUNK_BYTES }), () => {});
    return;
  }
  const [program, ...args] = DECOMPRESSORS[format];
  const file = await open(path, 'r');
  const child = startWriting(program, args, file.fd);
  try {
    yield* child.stdout;
    await child.exited;
  } finally {
    child.kill();
    await file.close();
  }
}
