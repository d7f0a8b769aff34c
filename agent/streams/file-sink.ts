/**
 * Writes a stream to an open file in large aligned blocks: one is written while the next fills, and no more is in memory.
 *
 * The file is overwritten in place and cut to what came at the end, also when the stream breaks: emptying a large file
 * first costs as much as writing it, stops this process meanwhile, and makes btrfs write everything out at the close.
 */
import { close, ftruncate, write } from 'node:fs';
import { Writable } from 'node:stream';
import { promisify } from 'node:util';

const writeFd = promisify(write);
const closeFd = promisify(close);
const cutFd = promisify(ftruncate);

/** A multiple of every record size that ZFS uses by default: a block that is replaced whole need not be read. */
const BLOCK_BYTES = 512 * 1024;

/** Takes over the descriptor, whose offset is where writing begins, and has closed it when `close` is emitted. */
export function createFileSink(fd: number, { append }: { append: boolean }): Writable {
  const blocks = [Buffer.allocUnsafeSlow(BLOCK_BYTES), Buffer.allocUnsafeSlow(BLOCK_BYTES)] as const;
  let turn: 0 | 1 = 0;
  let filled = 0;
  let written = 0;
  let writing: Promise<void> = Promise.resolve();

  const writeOut = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await writeFd(fd, bytes, at, bytes.length - at, null);
      at += bytesWritten;
      written += bytesWritten;
    }
  };
  /** Resolves when the other block is free. */
  const flush = async () => {
    const bytes = blocks[turn].subarray(0, filled);
    await writing;
    writing = writeOut(bytes);
    // Looked at by the next flush.
    writing.catch(() => {});
    turn = turn === 0 ? 1 : 0;
    filled = 0;
  };
  const take = async (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      const size = chunk.copy(blocks[turn], filled, at);
      filled += size;
      at += size;
      if (filled === BLOCK_BYTES) await flush();
    }
  };
  const cut = async () => {
    if (!append) await cutFd(fd, written);
  };

  return new Writable({
    highWaterMark: BLOCK_BYTES,
    write: (chunk: Buffer, _encoding, done) => {
      if (filled + chunk.length < BLOCK_BYTES) {
        filled += chunk.copy(blocks[turn], filled);
        done();
      } else {
        take(chunk).then(() => done(), done);
      }
    },
    final: (done) => {
      flush()
        .then(() => writing)
        .then(cut)
        .then(() => done(), done);
    },
    destroy: (error, done) => {
      // The last write first: it must not meet the descriptor's next owner.
      const settled = writing.catch(() => {});
      const cutShort = error === null ? settled : settled.then(cut).catch(() => {});
      cutShort.then(() => closeFd(fd)).then(() => done(error), done);
    },
  });
}
