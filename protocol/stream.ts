/**
 * What passes between an agent and a Stream object.
 *
 * exec and console: one websocket, `GET /agent/stream/<id>`. Bytes travel in binary messages: one byte of channel, then the
 * payload (at most `CHUNK_BYTES`). Control travels as JSON text. Websocket `send()` knows no back-pressure in a Durable
 * Object, so each channel has a window: a sender may have `WINDOW_BYTES` unconfirmed, and gets room again by `credit`.
 *
 * SFTP: the same, with one channel, `CHANNEL_INPUT`, both ways. The bytes are the protocol's own; chunks say nothing of packets.
 *
 * A file: plain HTTP below `/agent/stream/<id>`, whose bodies have back-pressure of their own and pass through the runtime
 * without being looked at. For a `get` the agent sends the content by `PUT …/content`, in parts of at most `PART_BYTES`, the
 * first with the `FileHead` in `FILE_HEAD_HEADER`. For a `put` it takes the content by `GET …/content`; a body that ends
 * proves nothing (runtimes end a body cleanly when its sender has gone), so it then tells how it went by
 * `POST …/outcome`, and the answer says whether the content was whole: 204, or 404 and 409.
 *
 * A moving instance goes from agent to agent. The target takes all of it by one `GET …/content`. The source asks by
 * `GET …/peer`, answered when the target is there, then sends `PUT …/content` in parts of at most `PART_BYTES` whose length
 * nobody knows ahead, the last with `LAST_PART_HEADER`. Inside are blocks, each after its length in four bytes, and a block
 * of none at the end: without it the stream broke off. Either side says by `POST …/outcome` why it gives up; every refusal
 * tells the first reason.
 */
import { z } from 'zod';
import { WireError } from './errors.ts';
import { FileType } from './queries.ts';

/** stdin or terminal. */
export const CHANNEL_INPUT = 0;
export const CHANNEL_STDOUT = 1;
export const CHANNEL_STDERR = 2;

export const CHUNK_BYTES = 256 * 1024;
export const WINDOW_BYTES = 4 * 1024 * 1024;

const Channel = z.number().int().min(0).max(2);

/** Request bodies end at 100 MB on the platform. */
export const PART_BYTES = 64 * 1024 * 1024;
export const FILE_HEAD_HEADER = 'x-longshore-file-head';
export const LAST_PART_HEADER = 'x-longshore-last-part';
/** Of a block of a moving instance. */
export const BLOCK_LIMIT_BYTES = 1024 * 1024;

/** What a file is, before its content: the bytes of a file, the target of a symlink, a directory's names as a JSON array. */
export const FileHead = z.object({
  type: FileType,
  mode: z.number().int(),
  uid: z.number().int(),
  gid: z.number().int(),
  /** Of the content. */
  sizeBytes: z.number().int().nonnegative(),
  modifiedAt: z.string(),
});
export type FileHead = z.infer<typeof FileHead>;

/** How a put went on the host: complete there, or why not. */
export const FileOutcome = z.object({ error: WireError.nullable() });
export type FileOutcome = z.infer<typeof FileOutcome>;

/** Agent → Stream object. */
export const AgentStreamFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('end'), channel: Channel }),
  z.object({ type: z.literal('credit'), channel: Channel, bytes: z.number().int().positive() }),
]);
export type AgentStreamFrame = z.infer<typeof AgentStreamFrame>;

/** Stream object → agent. */
export const ControlStreamFrame = z.discriminatedUnion('type', [
  /** Every client socket that the start needs is there. */
  z.object({ type: z.literal('start') }),
  z.object({ type: z.literal('end'), channel: Channel }),
  z.object({ type: z.literal('credit'), channel: Channel, bytes: z.number().int().positive() }),
  z.object({ type: z.literal('resize'), width: z.number().int(), height: z.number().int() }),
  z.object({ type: z.literal('signal'), signal: z.number().int().min(1).max(64) }),
  /** The client went away: kill what runs, drop what is half-written. */
  z.object({ type: z.literal('abort'), reason: z.string() }),
]);
export type ControlStreamFrame = z.infer<typeof ControlStreamFrame>;

/** Prefixes a chunk with its channel. */
export function encodeChunk(channel: number, bytes: Uint8Array): Uint8Array {
  const message = new Uint8Array(bytes.length + 1);
  message[0] = channel;
  message.set(bytes, 1);
  return message;
}
