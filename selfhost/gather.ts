/**
 * Joins the pieces of a large body. TLS gives it out in records of 16 KiB or less, and each piece that travels on alone costs
 * every process behind it a wake-up, a parse and a write: most of what a large transfer costs at all. Two blocks are filled in
 * turn and used again, because V8 answers megabytes of fresh buffers with one collection after the other.
 */
import { Writable } from 'node:stream';

/** Larger pieces save next to nothing more. */
const PIECE_BYTES = 128 * 1024;
/** What a body starts with passes at once: small messages, heads of streams. */
const PROMPT_BYTES = 64 * 1024;
/** A body that comes more slowly than a piece in this time is not in a hurry for it. */
const HOLD_MS = 1;

/**
 * Writes to `target` what is written here, and ends it. Holds at most two pieces; what it holds waits for `HOLD_MS`, or until
 * the piece before it has left. Broken when `target` closes; breaks `target` when it is destroyed before the end.
 */
export function gatherInto(target: Writable): Writable {
  let blocks: [Buffer, Buffer] | null = null;
  let turn: 0 | 1 = 0;
  let filled = 0;
  let passed = 0;
  let isFlying = false;
  let afterLanding: (() => void) | null = null;
  let timer: NodeJS.Timeout | undefined;

  const landed = () => {
    isFlying = false;
    const next = afterLanding;
    afterLanding = null;
    next?.();
  };
  const whenLanded = (act: () => void) => {
    if (isFlying) afterLanding = act;
    else act();
  };
  const release = () => {
    clearTimeout(timer);
    timer = undefined;
    if (blocks === null || filled === 0) return;
    const piece = blocks[turn].subarray(0, filled);
    turn = turn === 0 ? 1 : 0;
    filled = 0;
    isFlying = true;
    target.write(piece, landed);
  };
  const releaseLate = () => {
    timer = undefined;
    // Who waits already, for room or with the end, releases as well.
    if (afterLanding === null) whenLanded(release);
  };
  const hold = (chunk: Buffer, done: () => void): void => {
    blocks ??= [Buffer.allocUnsafeSlow(PIECE_BYTES), Buffer.allocUnsafeSlow(PIECE_BYTES)];
    const size = chunk.copy(blocks[turn], filled);
    filled += size;
    if (filled === PIECE_BYTES) {
      whenLanded(() => {
        release();
        if (size < chunk.length) hold(chunk.subarray(size), done);
        else done();
      });
      return;
    }
    timer ??= setTimeout(releaseLate, HOLD_MS);
    done();
  };

  const gather = new Writable({
    highWaterMark: PIECE_BYTES,
    write: (chunk: Buffer, _encoding, done) => {
      passed += chunk.length;
      if (passed > PROMPT_BYTES) hold(chunk, done);
      else if (target.write(chunk)) done();
      else target.once('drain', done);
    },
    final: (done) => {
      whenLanded(() => {
        release();
        target.end();
        done();
      });
    },
    destroy: (error, done) => {
      clearTimeout(timer);
      if (!gather.writableFinished) target.destroy();
      done(error);
    },
  });
  target.once('close', () => gather.destroy());
  return gather;
}
