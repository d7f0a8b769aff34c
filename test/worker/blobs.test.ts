import { env } from 'cloudflare:test';
import { expect, it } from 'vitest';
import { createBlobStore } from '#worker/blobs/index.ts';
import { createLogger } from '#worker/lib/log.ts';
import { newContent } from '#worker/services/image-upload.ts';

const body = (chunks: number) => {
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === chunks) return controller.close();
      sent += 1;
      controller.enqueue(new Uint8Array(1024 * 1024).fill(sent));
    },
  });
};

it.each([
  ['an empty one', 0],
  ['one that fits a part', 3],
  ['one of exactly a part', 8],
  ['one of several parts', 19],
])('R2 keeps a body of unknown length, %s, and gives it back', async (_, chunks) => {
  const store = createBlobStore(env);
  const key = `uploads/${crypto.randomUUID()}-unified`;
  await store.put(key, body(chunks));
  const blob = await store.get(key);
  expect(blob?.sizeBytes).toBe(chunks * 1024 * 1024);
  const bytes = new Uint8Array(await new Response(blob?.body).arrayBuffer());
  expect([bytes.byteLength, bytes.at(-1)]).toEqual([chunks * 1024 * 1024, chunks === 0 ? undefined : chunks]);
  await store.delete(key);
  await store.delete(key);
  expect(await store.get(key)).toBeNull();
});

it('an upload is hashed over all its parts while it is stored, and can be dropped', async () => {
  const ctx = { blobs: createBlobStore(env), log: createLogger('error', {}, () => {}) };
  const content = newContent(ctx, crypto.randomUUID());
  await content.store('metadata', body(1));
  await content.store('rootfs', body(9));
  const { fingerprint, parts, sizeBytes } = await content.finish();
  const both = new Uint8Array(10 * 1024 * 1024);
  const sent = new Uint8Array(await new Response(body(9)).arrayBuffer());
  both.fill(1, 0, 1024 * 1024);
  both.set(sent, 1024 * 1024);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', both));
  expect(fingerprint).toBe([...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  expect([sizeBytes, parts.map(({ filename }) => filename)]).toEqual([
    both.byteLength,
    [`meta-${fingerprint}.tar`, `${fingerprint}.tar`],
  ]);
  await content.drop();
  for (const { key } of parts) expect(await ctx.blobs.get(key)).toBeNull();
});

it('an empty part is refused, and what was stored can still be dropped', async () => {
  const ctx = { blobs: createBlobStore(env), log: createLogger('error', {}, () => {}) };
  const content = newContent(ctx, crypto.randomUUID());
  await expect(content.store('unified', body(0))).rejects.toThrow('The image is empty');
  await content.drop();
});
