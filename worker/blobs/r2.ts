/** Image content in R2. R2 wants lengths, and an upload has none: the body is cut into parts of known size. */
import type { BlobStore } from './store.ts';

/** Above R2's minimum of 5 MiB, and small against a Worker's 128 MB; 10,000 parts make 78 GiB. */
const PART_BYTES = 8 * 1024 * 1024;

/** Parts all of `partBytes` but the last; an empty body gives one empty part. One buffer is alive at a time. */
export async function* cutParts(body: ReadableStream<Uint8Array>, partBytes: number): AsyncGenerator<Uint8Array> {
  let part = new Uint8Array(partBytes);
  let filled = 0;
  let count = 0;
  for await (const chunk of body) {
    for (let from = 0; from < chunk.byteLength; ) {
      const take = Math.min(partBytes - filled, chunk.byteLength - from);
      part.set(chunk.subarray(from, from + take), filled);
      filled += take;
      from += take;
      if (filled < partBytes) continue;
      yield part;
      count += 1;
      part = new Uint8Array(partBytes);
      filled = 0;
    }
  }
  if (filled > 0 || count === 0) yield part.subarray(0, filled);
}

/** All that is used of an R2 bucket. */
export interface Bucket {
  put(key: string, value: Uint8Array): Promise<unknown>;
  get(key: string): Promise<{ body: ReadableStream<Uint8Array>; size: number } | null>;
  delete(key: string): Promise<void>;
  createMultipartUpload(key: string): Promise<{
    uploadPart(number: number, value: Uint8Array): Promise<UploadedPart>;
    complete(parts: UploadedPart[]): Promise<unknown>;
    abort(): Promise<void>;
  }>;
}

interface UploadedPart {
  partNumber: number;
  etag: string;
}

/** A `put` that fails leaves nothing: the multipart upload is aborted. */
export function createR2Store(bucket: Bucket): BlobStore {
  return {
    async put(key, body) {
      const parts = cutParts(body, PART_BYTES);
      const first = await parts.next();
      const head = first.done ? new Uint8Array() : first.value;
      if (head.byteLength < PART_BYTES) {
        await bucket.put(key, head);
        return;
      }
      const upload = await bucket.createMultipartUpload(key);
      try {
        const uploaded = [await upload.uploadPart(1, head)];
        for await (const part of parts) uploaded.push(await upload.uploadPart(uploaded.length + 1, part));
        await upload.complete(uploaded);
      } catch (error) {
        await upload.abort().catch(() => undefined);
        throw error;
      }
    },
    async get(key) {
      const object = await bucket.get(key);
      return object === null ? null : { body: object.body, sizeBytes: object.size };
    },
    async delete(key) {
      await bucket.delete(key);
    },
  };
}
