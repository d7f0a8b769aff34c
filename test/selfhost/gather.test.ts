import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, Readable, Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { gatherInto } from '#selfhost/gather.ts';

const RECORD = 16 * 1024;
const PIECE = 128 * 1024;

/** Copies what arrives, as a socket does, after a moment, and tells only then that the bytes are free. */
function slowTarget() {
  const pieces: Buffer[] = [];
  const target = new Writable({
    write: (piece: Buffer, _encoding, done) => {
      setImmediate(() => {
        pieces.push(Buffer.from(piece));
        done();
      });
    },
  });
  return { target, pieces };
}

const records = (content: Buffer) =>
  Array.from({ length: Math.ceil(content.length / RECORD) }, (_, index) =>
    content.subarray(index * RECORD, (index + 1) * RECORD),
  );

test.each([0, 1, RECORD, PIECE, 5_000_001])('passes %i bytes on, in order, in few pieces, and ends', async (size) => {
  const content = randomBytes(size);
  const { target, pieces } = slowTarget();
  Readable.from(records(content)).pipe(gatherInto(target));
  await once(target, 'finish');
  expect(Buffer.concat(pieces).equals(content)).toBe(true);
  expect(pieces.length).toBeLessThan(size / PIECE + 10);
});

test('takes chunks that are larger than a piece', async () => {
  const content = randomBytes(3 * PIECE + 7);
  const { target, pieces } = slowTarget();
  gatherInto(target).end(content);
  await once(target, 'finish');
  expect(Buffer.concat(pieces).equals(content)).toBe(true);
});

test('passes what a body starts with at once', () => {
  const target = new PassThrough();
  gatherInto(target).write('first');
  expect(String(target.read())).toBe('first');
});

test('passes a slow body on without waiting for a whole piece', async () => {
  const { target, pieces } = slowTarget();
  const gather = gatherInto(target);
  const arrived = () => pieces.reduce((sum, piece) => sum + piece.length, 0);
  const untilArrived = async (bytes: number) => {
    while (arrived() < bytes) await new Promise((resolve) => setImmediate(resolve));
  };
  gather.write(Buffer.alloc(PIECE));
  gather.write(Buffer.alloc(PIECE + 3));
  await untilArrived(2 * PIECE + 3);
  gather.write('late');
  await untilArrived(2 * PIECE + 7);
});

test('takes no more than a few pieces when nobody reads', () => {
  const gather = gatherInto(new Writable({ write: () => {} }));
  let taken = 0;
  for (let isFree = true; isFree && taken < 100 * PIECE; taken += RECORD) isFree = gather.write(Buffer.alloc(RECORD));
  expect(taken).toBeLessThan(4 * PIECE);
});

test('breaks the target when it is broken, and is broken with it', async () => {
  const first = new PassThrough();
  gatherInto(first).destroy();
  expect(first.destroyed).toBe(true);
  const second = new PassThrough();
  const gather = gatherInto(second);
  second.destroy();
  await once(gather, 'close');
  expect(gather.destroyed).toBe(true);
});
