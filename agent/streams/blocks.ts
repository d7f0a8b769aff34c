/**
 * A stream whose end is part of it: blocks after their lengths, and a block of none at the end (`protocol/stream.ts`). The
 * bodies that carry it may end cleanly when their sender has gone.
 */
import { badRequest, unavailable } from '#protocol/errors.ts';
import { BLOCK_LIMIT_BYTES } from '#protocol/stream.ts';

const LENGTH_BYTES = 4;

/** What follows the last block. */
export const END_OF_BLOCKS = Buffer.alloc(LENGTH_BYTES);

/** The bytes as blocks. */
export function encodeBlocks(bytes: Uint8Array): Buffer {
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_LIMIT_BYTES) {
    const block = bytes.subarray(at, at + BLOCK_LIMIT_BYTES);
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(block.length);
    blocks.push(length, block);
  }
  return Buffer.concat(blocks);
}

/** The bytes of the blocks in `content`, which is read to its end. Throws `unavailable` when it ends before they do. */
export async function* decodeBlocks(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let header = Buffer.alloc(0);
  let leftBytes = 0;
  let isWhole = false;
  try {
    for await (const chunk of content) {
      for (let at = 0; at < chunk.length && !isWhole; ) {
        if (leftBytes > 0) {
          const bytes = chunk.subarray(at, at + leftBytes);
          at += bytes.length;
          leftBytes -= bytes.length;
          yield bytes;
          continue;
        }
        const part = chunk.subarray(at, at + LENGTH_BYTES - header.length);
        at += part.length;
        header = Buffer.concat([header, part]);
        if (header.length < LENGTH_BYTES) continue;
        leftBytes = header.readUInt32BE();
        header = Buffer.alloc(0);
        if (leftBytes > BLOCK_LIMIT_BYTES) throw badRequest('The stream holds no blocks');
        isWhole = leftBytes === 0;
      }
    }
  } catch (error) {
    // How the connection ends when all is said does not matter.
    if (!isWhole) throw error;
  }
  if (!isWhole) throw unavailable('The transfer broke off');
}
