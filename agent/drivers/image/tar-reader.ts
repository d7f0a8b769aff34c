/** Walks the entries of a tar stream in bounded memory, each with the very bytes it is made of. */
import { badRequest } from '#protocol/errors.ts';
import { type ByteReader, createByteReader } from './byte-reader.ts';
import { BLOCK_BYTES, type Overrides, parseHeader, parseLongName, parsePax, type RawHeader } from './tar-header.ts';

export type EntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'device' | 'fifo';

export interface TarEntry {
  /** The name it is unpacked under. */
  name: string;
  /** The name in its plain header, which a reader that knows no extended headers would take. */
  shortName: string;
  linkName: string;
  type: EntryType;
  sizeBytes: number;
}

export interface TarMember {
  entry: TarEntry;
  /** Its headers as they are in the archive. */
  head: Buffer;
  /** Its data as it is in the archive, padding included. What is not read is skipped. */
  body(): AsyncGenerator<Buffer>;
}

/** Extended headers hold names and attributes; nothing honest is larger. */
const EXTENDED_LIMIT = 1024 * 1024;
/** Maps of a sparse file: 21 pieces a block. */
const SPARSE_BLOCK_LIMIT = 4096;

const TYPES: Record<string, EntryType> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'directory',
  '6': 'fifo',
};

const invalid = (text: string) => badRequest(`Invalid image archive: ${text}`);
const padded = (sizeBytes: number) => Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;

function toEntry(header: RawHeader, overrides: Overrides): TarEntry {
  const name = overrides.name ?? header.name;
  const type = TYPES[header.typeFlag];
  if (type === undefined) throw invalid(`unsupported entry type ${JSON.stringify(header.typeFlag)}`);
  const sizeBytes = overrides.sizeBytes ?? header.sizeBytes;
  // Programs disagree on whether such data is there at all.
  if (type !== 'file' && sizeBytes !== 0) throw invalid('data in an entry that has none');
  return {
    name,
    shortName: header.name,
    linkName: overrides.linkName ?? header.linkName,
    type: type === 'file' && name.endsWith('/') ? 'directory' : type,
    sizeBytes,
  };
}

/** Joins what two extended headers say; saying the same thing twice leaves it to the reader which one counts. */
function merge(earlier: Overrides, later: Overrides): Overrides {
  for (const key of ['name', 'linkName', 'sizeBytes'] as const) {
    if (earlier[key] !== undefined && later[key] !== undefined) throw invalid('contradicting extended headers');
  }
  return { ...earlier, ...later };
}

function parseExtended(typeFlag: string, body: Buffer): Overrides {
  if (typeFlag === 'L') return { name: parseLongName(body) };
  if (typeFlag === 'K') return { linkName: parseLongName(body) };
  return parsePax(body);
}

/**
 * The members in order. Ends at the first empty block, whatever follows it. Throws `bad_request` for anything damaged,
 * ambiguous or of an unknown kind; global pax headers are left out.
 */
export async function* readTar(source: AsyncIterable<Buffer>): AsyncGenerator<TarMember> {
  const chunks = source[Symbol.asyncIterator]();
  try {
    yield* readMembers(createByteReader(chunks));
  } finally {
    await chunks.return?.();
  }
}

async function* readMembers(reader: ByteReader): AsyncGenerator<TarMember> {
  for (;;) {
    const head: Buffer[] = [];
    let overrides: Overrides = {};
    let header = await readHeader(reader, head);
    while (header !== null && 'xgLK'.includes(header.typeFlag)) {
      if (header.sizeBytes > EXTENDED_LIMIT || head.length > 8) throw invalid('extended header too large');
      const body = await take(reader, padded(header.sizeBytes));
      if (header.typeFlag === 'g') head.pop();
      else {
        head.push(body);
        overrides = merge(overrides, parseExtended(header.typeFlag, body.subarray(0, header.sizeBytes)));
      }
      header = await readHeader(reader, head);
    }
    if (header === null) {
      if (head.length > 0) throw invalid('unexpected end');
      return;
    }
    for (let more = header.extended; more; ) {
      if (head.length > SPARSE_BLOCK_LIMIT) throw invalid('sparse map too large');
      const map = await take(reader, BLOCK_BYTES);
      head.push(map);
      more = map[504] === 1;
    }
    const entry = toEntry(header, overrides);
    let left = padded(entry.sizeBytes);
    const body = async function* () {
      while (left > 0) {
        const chunk = await reader.some(left);
        if (chunk === null) throw invalid('unexpected end');
        left -= chunk.length;
        yield chunk;
      }
    };
    yield { entry, head: Buffer.concat(head), body };
    for await (const _ of body());
  }
}

/** Reads one header block and keeps its bytes in `head`; null at the end of the archive. */
async function readHeader(reader: ByteReader, head: Buffer[]): Promise<RawHeader | null> {
  const block = await reader.exactly(BLOCK_BYTES);
  if (block === null || block.every((byte) => byte === 0)) return null;
  head.push(block);
  return parseHeader(block);
}

async function take(reader: ByteReader, count: number): Promise<Buffer> {
  if (count === 0) return Buffer.alloc(0);
  const bytes = await reader.exactly(count);
  if (bytes === null) throw invalid('unexpected end');
  return bytes;
}
