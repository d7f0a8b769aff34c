/**
 * Joins the pieces of a large body. TLS gives it out in records of 16 KiB or less, and each piece that travels on alone costs
 * every process behind it a wake-up, a parse and a write: most of what a large transfer costs at all.
 */
import { Transform } from 'node:stream';

/** Larger pieces save next to nothing more. */
const PIECE_BYTES = 128 * 1024;
/** What a body starts with passes at once: small messages, heads of streams. */
const PROMPT_BYTES = 64 * 1024;
/** A body that comes more slowly than a piece in this time is not in a hurry for it. */
const HOLD_MS = 1;

/** Holds at most one piece, for `HOLD_MS` at most; passes the end on at once. */
export function createGather(): Transform {
  let pieces: Buffer[] = [];
  let held = 0;
  let passed = 0;
  let timer: NodeJS.Timeout | undefined;
  const release = () => {
    clearTimeout(timer);
    timer = undefined;
    if (held > 0) gather.push(Buffer.concat(pieces, held));
    pieces = [];
    held = 0;
  };
  const gather = new Transform({
    readableHighWaterMark: PIECE_BYTES,
    transform: (chunk: Buffer, _encoding, done) => {
      passed += chunk.length;
      if (passed <= PROMPT_BYTES) return done(null, chunk);
      pieces.push(chunk);
      held += chunk.length;
      if (held >= PIECE_BYTES) release();
      else timer ??= setTimeout(release, HOLD_MS);
      return done();
    },
    flush: (done) => {
      release();
      done();
    },
    destroy: (error, done) => {
      clearTimeout(timer);
      done(error);
    },
  });
  return gather;
}
