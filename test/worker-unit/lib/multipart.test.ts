import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { multipartBoundary, readMultipart } from '#worker/lib/multipart.ts';

const BOUNDARY = '849b55a9d8c4';
const text = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);
const bytes = (latin1: string) => Uint8Array.from(latin1, (char) => char.charCodeAt(0));

/** The body cut at these places. */
function streamOf(body: Uint8Array, cuts: number[] = []): ReadableStream<Uint8Array> {
  const at = [...new Set(cuts.map((cut) => cut % (body.byteLength + 1)))].sort((a, b) => a - b);
  const chunks = [...at, body.byteLength].map((end, index) => body.slice(at[index - 1] ?? 0, end));
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
  });
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += text(chunk);
  return all;
}

async function read(stream: ReadableStream<Uint8Array>, boundary = BOUNDARY) {
  const parts: { name: string; filename: string; content: string }[] = [];
  for await (const { name, filename, body } of readMultipart(stream, boundary)) {
    parts.push({ name, filename, content: await collect(body) });
  }
  return parts;
}

const form = (parts: { name: string; filename?: string; content: string }[], end = '--\r\n') =>
  bytes(
    parts
      .map(
        ({ name, filename, content }) =>
          `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}\r\nContent-Type: application/octet-stream\r\n\r\n${content}\r\n`,
      )
      .join('') + `--${BOUNDARY}${end}`,
  );

/** Content that is full of almost-delimiters. */
const tricky = fc
  .array(
    fc.constantFrom('\r', '\n', '\r\n', '--', '-', `\r\n--${BOUNDARY.slice(0, -1)}`, `--${BOUNDARY}`, '\0', 'ÿ', 'abc'),
    { maxLength: 30 },
  )
  .map((pieces) => pieces.join(''))
  .filter((content) => !`\r\n${content}\r\n`.includes(`\r\n--${BOUNDARY}`));

describe('readMultipart', () => {
  it('gives the same parts wherever the chunks are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ name: fc.constantFrom('metadata', 'rootfs', 'x'), content: tricky }), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.array(fc.nat(4096), { maxLength: 40 }),
        async (parts, cuts) => {
          const got = await read(streamOf(form(parts), cuts));
          expect(got.map(({ name, content }) => ({ name, content }))).toEqual(parts);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('survives being fed one byte at a time', async () => {
    const body = form([
      { name: 'metadata', filename: 'meta.tar.xz', content: 'a\r\n--b' },
      { name: 'rootfs', filename: 'a "quoted\\\\" name'.replaceAll('"', '\\"'), content: '' },
    ]);
    const cuts = Array.from(body, (_, index) => index);
    expect(await read(streamOf(body, cuts))).toEqual([
      { name: 'metadata', filename: 'meta.tar.xz', content: 'a\r\n--b' },
      { name: 'rootfs', filename: 'a "quoted\\" name', content: '' },
    ]);
  });

  it('skips what the reader left of a part', async () => {
    const names: string[] = [];
    const body = form([
      { name: 'metadata', content: 'x'.repeat(5000) },
      { name: 'rootfs', content: 'y' },
    ]);
    for await (const part of readMultipart(streamOf(body, [100, 2000, 3000]), BOUNDARY)) names.push(part.name);
    expect(names).toEqual(['metadata', 'rootfs']);
  });

  it('ignores a preamble, padding after a boundary, and what follows the last one', async () => {
    const body = bytes(
      `hello\r\n--${BOUNDARY}  \r\nContent-Disposition: form-data; name=metadata\r\n\r\nx\r\n--${BOUNDARY}--\r\nbye`,
    );
    expect(await read(streamOf(body, [3, 9]))).toEqual([{ name: 'metadata', filename: '', content: 'x' }]);
  });

  it('holds no more than a chunk and a delimiter, however large the part', async () => {
    const chunk = new Uint8Array(64 * 1024).fill(13);
    let produced = 0;
    let consumed = 0;
    let ahead = 0;
    const head = bytes(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="rootfs"\r\n\r\n`);
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(head),
      pull(controller) {
        if (produced === 400) {
          controller.enqueue(bytes(`\r\n--${BOUNDARY}--`));
          controller.close();
          return;
        }
        produced += 1;
        controller.enqueue(chunk);
      },
    });
    for await (const part of readMultipart(body, BOUNDARY)) {
      for await (const piece of part.body) {
        consumed += piece.byteLength;
        ahead = Math.max(ahead, produced * chunk.byteLength - consumed);
      }
    }
    expect(consumed).toBe(400 * chunk.byteLength);
    expect(ahead).toBeLessThanOrEqual(4 * chunk.byteLength);
  });

  it.each([
    ['nothing', ''],
    ['no boundary', 'hello'],
    ['a part without its end', `--${BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\nabc`],
    ['headers without their end', `--${BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n`],
    ['a part without a name', `--${BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--${BOUNDARY}--`],
    ['a part that is no form data', `--${BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--${BOUNDARY}--`],
    ['a header without a colon', `--${BOUNDARY}\r\nnonsense\r\n\r\nx\r\n--${BOUNDARY}--`],
    ['a header line without CR', `--${BOUNDARY}\r\nA: b\n\r\nx\r\n--${BOUNDARY}--`],
    ['text after a boundary', `--${BOUNDARY}zzz\r\n\r\nx\r\n--${BOUNDARY}--`],
    ['endless headers', `--${BOUNDARY}\r\nA: ${'x'.repeat(20_000)}\r\n\r\nx\r\n--${BOUNDARY}--`],
  ])('refuses %s as a bad request', async (_, body) => {
    await expect(read(streamOf(bytes(body), [1, 7, 50]))).rejects.toMatchObject({ code: 'bad_request' });
  });

  it('lets the source go when the reader stops early', async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(form([{ name: 'a', content: 'x' }], '\r\n')),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const _ of readMultipart(body, BOUNDARY)) break;
    expect(cancelled).toBe(true);
  });
});

describe('multipartBoundary', () => {
  it.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data;charset=utf-8;boundary="a b:c"', 'a b:c'],
    ['application/octet-stream', null],
    ['', null],
  ])('%s → %s', (type, boundary) => {
    expect(multipartBoundary(type)).toBe(boundary);
  });

  it.each(['multipart/form-data', 'multipart/form-data; boundary=', `multipart/form-data; boundary=${'x'.repeat(71)}`])(
    'refuses %s',
    (type) => {
      expect(() => multipartBoundary(type)).toThrow('no valid boundary');
    },
  );
});
