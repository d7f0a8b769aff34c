/** Image content for members, which fetch it by fingerprint to inspect, unpack and verify it. */
import { notFound } from '#protocol/errors.ts';
import { findImageParts } from '#worker/state/images.ts';
import type { Context } from './context.ts';

/** One part of an image, ready or pending, in whatever project. Throws `not_found`. */
export async function openImagePart(
  ctx: Context,
  fingerprint: string,
  part: string,
): Promise<{ body: ReadableStream<Uint8Array>; sizeBytes: number }> {
  const parts = await findImageParts(ctx.db, fingerprint);
  const found = parts?.find(({ name }) => name === part);
  if (!found) throw notFound('Image');
  const blob = await ctx.blobs.get(found.key);
  if (blob === null) throw notFound('Image content');
  return { body: blob.body, sizeBytes: found.sizeBytes };
}
