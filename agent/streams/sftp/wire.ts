/** Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02): numbers are big-endian, strings come after their length. Pure. */
import { badRequest } from '#protocol/errors.ts';

/** Of a request or answer, its length aside: room for the largest write that clients send, and some more. */
export const PACKET_LIMIT_BYTES = 512 * 1024;
const LENGTH_BYTES = 4;

/** Kinds of packets. */
export const FX = {
  init: 1,
  version: 2,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attributes: 105,
  extended: 200,
} as const;

/** What a status says. */
export const STATUS = { ok: 0, eof: 1, noSuchFile: 2, permissionDenied: 3, failure: 4, badMessage: 5, unsupported: 8 };

const HAS_SIZE = 1;
const HAS_OWNER = 2;
const HAS_MODE = 4;
const HAS_TIMES = 8;

/** Those that are absent are not told, or not to be changed. Times are in seconds. */
export interface Attributes {
  size?: number;
  owner?: { uid: number; gid: number };
  /** With the bits of the type. */
  mode?: number;
  times?: { accessed: number; modified: number };
}

/** Takes a packet apart from the front. Every method throws `bad_request` when there is less than it wants. */
export interface PacketReader {
  byte(): number;
  uint32(): number;
  uint64(): number;
  bytes(): Buffer;
  text(): string;
  attributes(): Attributes;
}

export function readPacket(packet: Buffer): PacketReader {
  let at = 0;
  const take = (size: number): Buffer => {
    if (at + size > packet.length) throw badRequest('The SFTP packet is too short');
    at += size;
    return packet.subarray(at - size, at);
  };
  const uint32 = () => take(4).readUInt32BE();
  const uint64 = () => Number(take(8).readBigUInt64BE());
  const bytes = () => take(uint32());
  return {
    byte: () => take(1).readUInt8(),
    uint32,
    uint64,
    bytes,
    text: () => bytes().toString('utf8'),
    attributes: () => {
      const flags = uint32();
      return {
        ...(flags & HAS_SIZE ? { size: uint64() } : {}),
        ...(flags & HAS_OWNER ? { owner: { uid: uint32(), gid: uint32() } } : {}),
        ...(flags & HAS_MODE ? { mode: uint32() } : {}),
        ...(flags & HAS_TIMES ? { times: { accessed: uint32(), modified: uint32() } } : {}),
      };
    },
  };
}

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

const uint64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

/** A string or bytes after their length. */
export function field(value: string | Uint8Array): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

export function encodeAttributes({ size, owner, mode, times }: Attributes): Buffer {
  const parts: Buffer[] = [];
  let flags = 0;
  if (size !== undefined) {
    flags |= HAS_SIZE;
    parts.push(uint64(size));
  }
  if (owner !== undefined) {
    flags |= HAS_OWNER;
    parts.push(uint32(owner.uid), uint32(owner.gid));
  }
  if (mode !== undefined) {
    flags |= HAS_MODE;
    parts.push(uint32(mode));
  }
  if (times !== undefined) {
    flags |= HAS_TIMES;
    parts.push(uint32(times.accessed), uint32(times.modified));
  }
  return Buffer.concat([uint32(flags), ...parts]);
}

/** A whole packet of this kind, its length in front. */
export function encodePacket(kind: number, ...parts: Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 1);
  return Buffer.concat([uint32(length), Buffer.from([kind]), ...parts]);
}

/** Cuts what comes into packets, without their lengths. Throws `bad_request` for one that is larger than the limit. */
export function createPacketCutter(): (chunk: Uint8Array) => Buffer[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const packets: Buffer[] = [];
    while (rest.length >= LENGTH_BYTES) {
      const length = rest.readUInt32BE();
      if (length === 0 || length > PACKET_LIMIT_BYTES) throw badRequest('The SFTP packet has an invalid length');
      if (rest.length < LENGTH_BYTES + length) break;
      packets.push(rest.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      rest = rest.subarray(LENGTH_BYTES + length);
    }
    return packets;
  };
}
