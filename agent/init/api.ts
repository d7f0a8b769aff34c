/** A small client of the LXD API over a unix socket. Throws the API's own error texts. */
import { request } from 'node:http';
import { z } from 'zod';
import { AppError, ERROR_STATUS, type ErrorCode, unavailable } from '#protocol/errors.ts';

const Envelope = z.object({
  type: z.enum(['sync', 'async', 'error']),
  operation: z.string().nullish(),
  error: z.string().nullish(),
  metadata: z.unknown(),
});

export interface Api {
  /** Metadata of the answer. */
  get(path: string): Promise<unknown>;
  /** As `get`; null for 404. */
  find(path: string): Promise<unknown>;
  /** Waits for the operation, when the answer is one. */
  send(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<unknown>;
}

/** Making a pool on a slow disk. */
const ANSWER_LIMIT_MS = 10 * 60_000;

export function createApi(socketPath: string): Api {
  async function call(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; envelope: z.infer<typeof Envelope> }> {
    const { status, text } = await exchange(socketPath, method, path, body);
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch (cause) {
      throw unavailable(`${method} ${path} answered ${status} with no JSON`, cause);
    }
    return { status, envelope: Envelope.parse(answer) };
  }
  async function ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const { status, envelope } = await call(method, path, body);
    if (envelope.type === 'error') throw errorOf(status, envelope.error ?? '');
    if (envelope.type === 'sync' || !envelope.operation) return envelope.metadata;
    const done = z.object({ status_code: z.number(), err: z.string() }).loose();
    const operation = done.parse(await ask('GET', `${envelope.operation}/wait`));
    if (operation.status_code !== 200) throw new AppError('failed', operation.err);
    return operation;
  }
  return {
    get: (path) => ask('GET', path),
    find: (path) =>
      ask('GET', path).catch((error: unknown) => {
        if (error instanceof AppError && error.code === 'not_found') return null;
        throw error;
      }),
    send: (method, path, body) => ask(method, path, body),
  };
}

function errorOf(status: number, message: string): AppError {
  const codes = Object.keys(ERROR_STATUS) as ErrorCode[];
  return new AppError(codes.find((code) => ERROR_STATUS[code] === status) ?? 'failed', message);
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? null : Buffer.from(JSON.stringify(body));
    const outgoing = request(
      {
        socketPath,
        method,
        path,
        agent: false,
        timeout: ANSWER_LIMIT_MS,
        headers: {
          host: 'unix.socket',
          ...(payload === null ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', (cause) => reject(unavailable(`Cannot reach ${socketPath}: ${cause.message}`, cause)));
    outgoing.end(payload ?? undefined);
  });
}
