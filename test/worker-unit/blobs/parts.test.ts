import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Bucket, createR2Store, cutParts } from '#worker/blobs/r2.ts';

const streamOf = (chunks: Uint8Array[]) =>
  new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
  });

describe('parts of an upload', () => {
  it('are equal but the last, and together the body', async () => {
    const chunks = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(chunks, fc.integer({ min: 1, max: 40 }), async (body, partBytes) => {
        const parts: Uint8Array[] = [];
        for await (const part of cutParts(streamOf([...body]), partBytes)) parts.push(part);
        expect(Buffer.concat(parts)).toEqual(Buffer.concat(body));
        expect(parts.slice(0, -1).every((part) => part.byteLength === partBytes)).toBe(true);
        expect(parts.length).toBeGreaterThan(0);
      }),
    );
  });

  it('that break off abort the upload', async () => {
    const seen: string[] = [];
    const bucket: Bucket = {
      put: async () => seen.push('put'),
      get: async () => null,
      delete: async () => {},
      createMultipartUpload: async () => ({
        uploadPart: async (partNumber) => ({ partNumber: seen.push(`part ${partNumber}`), etag: '' }),
        complete: async () => seen.push('complete'),
        abort: async () => void seen.push('abort'),
      }),
    };
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        if (sent <= 3) controller.enqueue(new Uint8Array(4 * 1024 * 1024));
        else controller.error(new Error('connection lost'));
      },
    });
    await expect(createR2Store(bucket).put('k', body)).rejects.toThrow('connection lost');
    expect(seen).toEqual(['part 1', 'abort']);
  });
});
