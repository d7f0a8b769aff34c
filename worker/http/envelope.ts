/** LXD's three answer envelopes (lxd-api section 2). Every JSON answer of `/1.0` is one of them. */
import type { AppError } from '#protocol/errors.ts';

const HEADERS = { 'content-type': 'application/json', 'x-content-type-options': 'nosniff' };

function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { ...HEADERS, ...headers } });
}

/** Sync 200. */
export function sync(metadata: unknown = {}, headers: Record<string, string> = {}): Response {
  return json(
    200,
    { type: 'sync', status: 'Success', status_code: 200, operation: '', error_code: 0, error: '', metadata },
    headers,
  );
}

/** Sync 201: something was created at `location` (`/1.0/…`, no host). */
export function created(location: string, metadata: unknown = null): Response {
  return json(
    201,
    { type: 'sync', status: 'Success', status_code: 200, operation: '', error_code: 0, error: '', metadata },
    { location },
  );
}

/** Async 202: the bare operation path, no query (Ansible appends `/wait`). */
export function async_(operation: { id: string } & Record<string, unknown>): Response {
  const path = `/1.0/operations/${operation.id}`;
  return json(
    202,
    {
      type: 'async',
      status: 'Operation created',
      status_code: 100,
      operation: path,
      error_code: 0,
      error: '',
      metadata: operation,
    },
    { location: path },
  );
}

/** When to come again, as a header; whatever is away for a moment, at once. */
export function retryAfter({ status, retryAfterSeconds }: AppError): Record<string, string> {
  const seconds = retryAfterSeconds ?? (status === 503 ? 1 : null);
  return seconds === null ? {} : { 'retry-after': String(seconds) };
}

export function failure(error: AppError, headers: Record<string, string> = {}): Response {
  const status = error.status;
  return json(
    status,
    {
      type: 'error',
      status: '',
      status_code: 0,
      operation: '',
      error_code: status,
      error: error.message,
      metadata: null,
    },
    { ...retryAfter(error), ...headers },
  );
}
