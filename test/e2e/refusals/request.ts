import type { ApiRequest } from '../api.ts';

/** Requests that must be refused: what is wrong, the request, the code or codes, the text. */
export type Refusal = [string, ApiRequest, number | number[], RegExp];

const json =
  (method: string) =>
  (path: string, body: unknown): ApiRequest => ({
    method,
    path,
    body: JSON.stringify(body),
  });
export const put = json('PUT');
export const post = json('POST');
export const patch = json('PATCH');
