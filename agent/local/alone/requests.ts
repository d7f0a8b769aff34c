/** What a request on the local socket asks for: path, query, body. Pure but for the reading. */
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { AppError, badRequest } from '#protocol/errors.ts';

/** Of JSON; the content of files is not read here. */
const BODY_LIMIT_BYTES = 1024 * 1024;

export interface Target {
  path: string;
  query: URLSearchParams;
  /** Null: every project. */
  project: string | null;
  recursion: number;
}

/** Throws `bad_request` for what is no path. */
export function readTarget(incoming: IncomingMessage): Target {
  const url = incoming.url ?? '/';
  if (!URL.canParse(url, 'http://localhost')) throw badRequest('Invalid path');
  const { pathname, searchParams: query } = new URL(url, 'http://localhost');
  const all = query.get('all-projects') === 'true';
  return {
    path: pathname.length > 1 ? pathname.replace(/\/$/, '') : pathname,
    query,
    project: all ? null : query.get('project') || 'default',
    recursion: Number(query.get('recursion') ?? 0) || 0,
  };
}

/** The body by its schema. Throws `bad_request` in LXD's words, `too_large`. */
export async function readBody<T>(incoming: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming) {
    const bytes: Buffer = chunk;
    size += bytes.length;
    if (size > BODY_LIMIT_BYTES) throw new AppError('too_large', 'The request body is too large');
    chunks.push(bytes);
  }
  const parsed = schema.safeParse(parseJson(Buffer.concat(chunks).toString()));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw badRequest(`Invalid request body: ${issue?.path.join('.')}: ${issue?.message}`, parsed.error);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw badRequest('Invalid request body: not JSON', cause);
  }
}

/** A name out of a path. Throws `bad_request` for an escape that is none. */
export function decodeName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw badRequest('Invalid path', cause);
  }
}
