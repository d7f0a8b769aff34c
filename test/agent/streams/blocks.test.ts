import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBlocks, END_OF_BLOCKS, encodeBlocks } from '#agent/streams/blocks.ts';

/** The bytes in pieces of these sizes. */
async function* cut(bytes: Buffer, sizes: number[]) {
  let at = 0;
  for (const size of sizes) {
    yield bytes.subarray(at, at + size);
    at += size;
  }
  if (at < bytes.length) yield bytes.subarray(at);
}

async function decode(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of decodeBlocks(content)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const written = (chunks: Uint8Array[]) => Buffer.concat([...chunks.map(encodeBlocks), END_OF_BLOCKS]);
const chunks = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 });

describe('blocks', () => {
  it('give back what was written, however the connection cuts it', async () => {
    await fc.assert(
      fc.asyncProperty(chunks, sizes, async (parts, pieces) => {
        expect(await decode(cut(written(parts), pieces))).toEqual(Buffer.concat(parts));
      }),
    );
  });

  it('are not whole without their end, wherever they break off', async () => {
    const whole = written([Buffer.from('hello'), Buffer.from('world')]);
    for (let length = 0; length < whole.length; length++) {
      await expect(decode(cut(whole.subarray(0, length), [3]))).rejects.toMatchObject({ code: 'unavailable' });
    }
  });

  it('carry more than one block may hold', async () => {
    const large = Buffer.alloc(3 * 1024 * 1024 + 5, 'x');
    expect((await decode(cut(written([large]), [1_000_000]))).equals(large)).toBe(true);
  });

  it('are whole when the connection breaks after their end', async () => {
    async function* broken() {
      yield written([Buffer.from('all')]);
      throw new Error('reset');
    }
    expect(String(await decode(broken()))).toBe('all');
  });

  it('refuse what is no block', async () => {
    await expect(decode(cut(Buffer.from('GET / HTTP/1.1'), []))).rejects.toMatchObject({ code: 'bad_request' });
  });
});
