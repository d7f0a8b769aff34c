/**
 * Tar headers, read strictly: anything that two readers could understand in two ways is refused, because the entries that
 * are let through are unpacked by another program.
 *
 * Names are kept as latin1, one character a byte, so that comparing them never depends on an encoding.
 */
import { badRequest } from '#protocol/errors.ts';

export const BLOCK_BYTES = 512;
/** The longest path Linux takes, and so the longest name worth reading. */
const NAME_LIMIT = 4096;

const invalid = (text: string) => badRequest(`Invalid image archive: ${text}`);

export interface RawHeader {
  name: string;
  linkName: string;
  typeFlag: string;
  sizeBytes: number;
  /** An old GNU sparse header that goes on in the next block. */
  extended: boolean;
}

/** Names and sizes that extended headers give to the entry after them. */
export interface Overrides {
  name?: string;
  linkName?: string;
  sizeBytes?: number;
}

function readText(block: Buffer, offset: number, length: number): string {
  const end = block.indexOf(0, offset);
  return block.toString('latin1', offset, end === -1 || end > offset + length ? offset + length : end);
}

function readNumber(block: Buffer, offset: number, length: number): number {
  const first = block[offset] ?? 0;
  if (first & 0x80) {
    let value = first & 0x7f;
    for (const byte of block.subarray(offset + 1, offset + length)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw invalid('number out of range');
    return value;
  }
  const text = readText(block, offset, length).trim();
  if (!/^[0-7]*$/.test(text)) throw invalid('malformed number in a header');
  return text === '' ? 0 : Number.parseInt(text, 8);
}

function hasGoodChecksum(block: Buffer): boolean {
  let sum = 8 * 0x20;
  for (let index = 0; index < BLOCK_BYTES; index++) {
    if (index < 148 || index >= 156) sum += block[index] ?? 0;
  }
  return sum === readNumber(block, 148, 8);
}

/** Parses one header block; throws `bad_request` for a damaged one. */
export function parseHeader(block: Buffer): RawHeader {
  if (!hasGoodChecksum(block)) throw invalid('header with a wrong checksum');
  const prefix = block.toString('latin1', 257, 263) === 'ustar\0' ? readText(block, 345, 155) : '';
  const name = readText(block, 0, 100);
  const typeFlag = String.fromCharCode(block[156] ?? 0);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: readText(block, 157, 100),
    typeFlag,
    sizeBytes: readNumber(block, 124, 12),
    extended: typeFlag === 'S' && block[482] === 1,
  };
}

function checkName(name: string): string {
  if (name.includes('\0') || name.length > NAME_LIMIT) throw invalid('malformed name');
  return name;
}

/** Parses the body of a GNU long name or long link header. */
export function parseLongName(body: Buffer): string {
  const text = body.toString('latin1');
  return checkName(text.endsWith('\0') ? text.slice(0, text.indexOf('\0')) : text);
}

/** Parses the body of a pax extended header: records of `<length> <key>=<value>\n`. */
export function parsePax(body: Buffer): Overrides {
  const overrides: Overrides = {};
  let sparseName: string | undefined;
  let offset = 0;
  while (offset < body.length && body[offset] !== 0) {
    const space = body.indexOf(0x20, offset);
    const digits = space === -1 ? '' : body.toString('latin1', offset, space);
    const end = offset + Number(digits);
    if (!/^[1-9]\d{0,6}$/.test(digits) || end > body.length || end <= space + 1 || body[end - 1] !== 0x0a) {
      throw invalid('malformed extended header');
    }
    const equals = body.indexOf(0x3d, space);
    if (equals === -1 || equals >= end) throw invalid('malformed extended header');
    const key = body.toString('latin1', space + 1, equals);
    const value = body.subarray(equals + 1, end - 1).toString('latin1');
    if (key === 'path') overrides.name = checkName(value);
    if (key === 'GNU.sparse.name') sparseName = checkName(value);
    if (key === 'linkpath') overrides.linkName = checkName(value);
    if (key === 'size') {
      if (!/^\d{1,15}$/.test(value)) throw invalid('malformed size');
      overrides.sizeBytes = Number(value);
    }
    offset = end;
  }
  // A sparse file's `path` is a made-up one for readers that do not know the format.
  if (sparseName !== undefined) overrides.name = sparseName;
  return overrides;
}
