/** ETags: opaque hashes over what a PUT may change, so that a stale editor is refused instead of overwriting (lxd-api 2). */
import { AppError } from '#protocol/errors.ts';

/** A quoted tag for the `etag` header; equal parts give equal tags, whatever the order of their keys. */
export async function etag(parts: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(canonical(parts)));
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return `"${[...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}"`;
}

/** Passes when the client sent none. An edge or a compressor may have weakened or unquoted the tag. Throws 412. */
export function checkIfMatch(ifMatch: string | null, current: string): void {
  if (ifMatch === null || ifMatch.trim() === '' || ifMatch.trim() === '*') return;
  const [sent, ours] = [strip(ifMatch), strip(current)];
  if (sent !== ours) throw new AppError('precondition_failed', `ETag doesn't match: ${ours} vs ${sent}`);
}

const strip = (tag: string) =>
  tag
    .trim()
    .replace(/^W\//, '')
    .replace(/^"(.*)"$/, '$1');

/** Maps sorted by key: two databases or two writes may order them differently. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, canonical(item)]),
  );
}
