import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { createGather } from '#selfhost/gather.ts';

const RECORD = 16 * 1024;
const PIECE = 128 * 1024;

test('passes everything on, in order, in few pieces', async () => {
  const content = randomBytes(5_000_001);
  const records = Array.from({ length: Math.ceil(content.length / RECORD) }, (_, index) =>
    content.subarray(index * RECORD, (index + 1) * RECORD),
  );
  const pieces: Buffer[] = [];
  const gather = createGather().on('data', (piece: Buffer) => pieces.push(piece));
  for (const record of records) if (!gather.write(record)) await once(gather, 'drain');
  gather.end();
  await once(gather, 'end');
  expect(Buffer.concat(pieces).equals(content)).toBe(true);
  expect(pieces.length).toBeLessThan(content.length / PIECE + 10);
});

test('passes what a body starts with at once', () => {
  const gather = createGather();
  gather.write('first');
  expect(String(gather.read())).toBe('first');
});

test('passes a slow body on without waiting for a whole piece', async () => {
  const gather = createGather();
  gather.write(Buffer.alloc(PIECE));
  gather.resume();
  await once(gather, 'data');
  gather.write('late');
  const [late] = await once(gather, 'data');
  expect(String(late)).toBe('late');
});

test('passes the end on with what it holds', async () => {
  const content = randomBytes(PIECE + 5);
  const gathered = Readable.from([content.subarray(0, PIECE), content.subarray(PIECE)]).pipe(createGather());
  expect((await buffer(gathered)).equals(content)).toBe(true);
});

test('takes no more than a few pieces when nobody reads', () => {
  const gather = createGather();
  let taken = 0;
  for (let free = true; free && taken < 100 * PIECE; taken += RECORD) free = gather.write(Buffer.alloc(RECORD));
  expect(taken).toBeLessThan(4 * PIECE);
});
