/** LXD's envelopes on a plain HTTP answer, with a warning that the host answers for itself. */
import type { ServerResponse } from 'node:http';
import { AppError, toWireError, unavailable } from '#protocol/errors.ts';
import type { ApiOperation } from './operations.ts';

export const ALONE_TEXT = 'control plane unreachable: this host serves its own instances only';

/** What this host cannot answer without the control plane. */
export const notHere = () => unavailable(ALONE_TEXT);

/** On every answer: clients that show it, and people who look, know whose word this is. */
export const ALONE_HEADERS = { warning: `199 longshore "${ALONE_TEXT}"` };

function send(outgoing: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  // A client that has gone, or one that has got its answer.
  if (outgoing.headersSent || outgoing.destroyed) return;
  const text = `${JSON.stringify(body)}\n`;
  outgoing.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...ALONE_HEADERS,
    ...headers,
  });
  outgoing.end(text);
}

const blank = { status: '', status_code: 0, operation: '', error_code: 0, error: '', metadata: null };

export function sendSync(outgoing: ServerResponse, metadata: unknown = {}, headers: Record<string, string> = {}): void {
  send(outgoing, 200, { ...blank, type: 'sync', status: 'Success', status_code: 200, metadata }, headers);
}

export function sendAsync(outgoing: ServerResponse, operation: ApiOperation): void {
  const path = `/1.0/operations/${operation.id}`;
  const body = { type: 'async', status: 'Operation created', status_code: 100, operation: path, metadata: operation };
  send(outgoing, 202, { ...blank, ...body }, { location: path });
}

/** The status that an error becomes. What was not thrown on purpose is not told. */
export const statusOfError = (error: unknown): number => (error instanceof AppError ? error.status : 500);

export function errorBody(error: unknown): object {
  return { ...blank, type: 'error', error_code: statusOfError(error), error: toWireError(error).message };
}

export function sendError(outgoing: ServerResponse, error: unknown): void {
  const status = statusOfError(error);
  send(outgoing, status, errorBody(error), status === 503 ? { 'retry-after': '3' } : {});
}
