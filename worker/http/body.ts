/** Request bodies: JSON whatever the Content-Type says (lxd-api 1.1), and never more of it than a config needs. */
import type { z } from 'zod';
import { AppError, badRequest } from '#protocol/errors.ts';
import { schemaError } from './errors.ts';

/** Cloud-init and certificates fit many times over. */
const JSON_LIMIT_BYTES = 1024 * 1024;

/** The parsed JSON of a body; 413 when larger than the limit, 400 when it is not JSON. A missing or `null` body is `{}`. */
export async function readJson(request: Request): Promise<unknown> {
  const text = (await readText(request)).trim();
  if (text === '' || text === 'null' || text === '""') return {};
  try {
    return JSON.parse(text);
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
  const tooLarge = () => new AppError('too_large', `Request body is larger than ${JSON_LIMIT_BYTES} bytes`);
  if (Number(request.headers.get('content-length') ?? '0') > JSON_LIMIT_BYTES) throw tooLarge();
  if (request.body === null) return '';
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > JSON_LIMIT_BYTES) throw tooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
