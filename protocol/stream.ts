/**
 * The socket between an agent and a Stream object: `GET /agent/stream/<id>`, one per exec, console or file transfer.
 *
 * Bytes travel in binary messages: one byte of channel, then the payload (at most `CHUNK_BYTES`). Control travels as JSON
 * text. Websocket `send()` knows no back-pressure in a Durable Object, so each channel has a window: a sender may have
 * `WINDOW_BYTES` unconfirmed, and gets room again by `credit`.
 */
import { z } from 'zod';
import { WireError } from './errors.ts';
import { FileType } from './queries.ts';

/** exec: stdin or terminal. file: the content. */
export const CHANNEL_INPUT = 0;
export const CHANNEL_STDOUT = 1;
export const CHANNEL_STDERR = 2;

export const CHUNK_BYTES = 256 * 1024;
export const WINDOW_BYTES = 4 * 1024 * 1024;

const Channel = z.number().int().min(0).max(2);

/** What a file is, before its bytes. `target` only for symlinks, `entries` only for directories. */
export const FileHead = z.object({
  type: FileType,
  mode: z.number().int(),
  uid: z.number().int(),
  gid: z.number().int(),
  sizeBytes: z.number(),
  modifiedAt: z.string(),
  target: z.string().nullable(),
  entries: z.array(z.string()).nullable(),
});
export type FileHead = z.infer<typeof FileHead>;

/** Agent → Stream object. */
export const AgentStreamFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('head'), head: FileHead }),
  z.object({ type: z.literal('end'), channel: Channel }),
  z.object({ type: z.literal('credit'), channel: Channel, bytes: z.number().int().positive() }),
  /** A `put` or `delete` is complete and on disk. */
  z.object({ type: z.literal('done') }),
  z.object({ type: z.literal('error'), error: WireError }),
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
