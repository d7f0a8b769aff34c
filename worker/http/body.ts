/** Request bodies: JSON whatever the Content-Type says (lxd-api 1.1), and never more of it than a config needs. */
import type { z } from 'zod';
import { AppError, badRequest } from '#protocol/errors.ts';
import { parseWellFormed } from '#worker/lib/json.ts';
import { schemaError } from './errors.ts';

/** Cloud-init and certificates fit many times over. */
const JSON_LIMIT_BYTES = 1024 * 1024;

/** The parsed JSON of a body; 413 when larger than the limit, 400 when it is not JSON. A missing or `null` body is `{}`. */
export async function readJson(request: Request): Promise<unknown> {
  const text = (await readText(request)).trim();
  if (text === '' || text === 'null' || text === '""') return {};
  try {
    return parseWellFormed(text);
  } catch (cause) {
    throw badRequest('Invalid JSON in the request body', cause);
  }
}

/** Schema violations become 400 with the path of the field. */
export function parseWith<S extends z.ZodType>(schema: S, value: unknown): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw schemaError(parsed.error);
  return parsed.data;
}

async function readText(request: Request): Promise<string> {
  const bytes = await readBytes(request, JSON_LIMIT_BYTES);
  if (bytes === null) throw new AppError('too_large', `Request body is larger than ${JSON_LIMIT_BYTES} bytes`);
  return new TextDecoder().decode(bytes);
}

/** The whole body; null when it is larger than the limit, as soon as that is known. */
export async function readBytes(request: Request, limitBytes: number): Promise<Uint8Array<ArrayBuffer> | null> {
  if (Number(request.headers.get('content-length') ?? '0') > limitBytes) return null;
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body) {
    size += chunk.byteLength;
    if (size > limitBytes) return null;
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}
