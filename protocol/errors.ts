/**
 * Errors that cross a boundary: HTTP answers and result frames.
 *
 * Everything thrown on purpose is an `AppError` with a code from the closed list; anything else is a
 * programming error and becomes `internal`, its text kept in the log only.
 */
import { z } from 'zod';

/** Each code with the HTTP status it becomes. */
export const ERROR_STATUS = {
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  precondition_failed: 412,
  too_large: 413,
  /** Well-formed, allowed, and yet nothing that can be done as asked. */
  unprocessable: 422,
  /** A limit on how much or how often; later it may pass. */
  too_many: 429,
  /** LXD answers 500 for some refusals; scripts match the text. */
  failed: 500,
  internal: 500,
  not_implemented: 501,
  unavailable: 503,
  /** The operation was cancelled by its owner; never an HTTP answer of its own. */
  cancelled: 400,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

export const ErrorCodeSchema = z.enum(Object.keys(ERROR_STATUS) as [ErrorCode, ...ErrorCode[]]);

/** An error as it travels in a frame. */
export const WireError = z.object({ code: ErrorCodeSchema, message: z.string().max(8192) });
export type WireError = z.infer<typeof WireError>;

export class AppError extends Error {
  readonly code: ErrorCode;
  /** After this long the same request may be answered otherwise; null when nothing is known of that. */
  readonly retryAfterSeconds: number | null;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryAfterSeconds?: number } = {}) {
    super(message, options);
    this.name = 'AppError';
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }

  get status(): number {
    return ERROR_STATUS[this.code];
  }
}

export const badRequest = (message: string, cause?: unknown) => new AppError('bad_request', message, { cause });
export const forbidden = (message = 'not authorized') => new AppError('forbidden', message);
/** `notFound('Instance')` reads "Instance not found", LXD's text. */
export const notFound = (thing: string) => new AppError('not_found', `${thing} not found`);
export const conflict = (message: string, cause?: unknown) => new AppError('conflict', message, { cause });
export const tooMany = (message: string, retryAfterSeconds: number) =>
  new AppError('too_many', message, { retryAfterSeconds });
/** A refusal for which LXD answers 500 and scripts match the text. */
export const failed = (message: string, cause?: unknown) => new AppError('failed', message, { cause });
export const unavailable = (message: string, cause?: unknown) => new AppError('unavailable', message, { cause });
export const cancelled = (message = 'Operation cancelled') => new AppError('cancelled', message);

/** What may be told to a peer: the error itself when meant for it, else a blank `internal`. */
export function toWireError(error: unknown): WireError {
  if (error instanceof AppError) return { code: error.code, message: error.message.slice(0, 8192) };
  return { code: 'internal', message: 'Internal error' };
}

export const fromWireError = (error: WireError) => new AppError(error.code, error.message);
