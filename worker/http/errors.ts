/** The one place where errors become HTTP answers. */
import { z } from 'zod';
import { AppError, badRequest } from '#protocol/errors.ts';
import type { Logger } from '#worker/lib/log.ts';
import { mapDbError } from '#worker/state/db.ts';
import { failure } from './envelope.ts';

/** Where in the body or query the schema refused, and why: `config.limits.cpu: Invalid input`. */
export function schemaError(error: z.core.$ZodError): AppError {
  const [issue] = error.issues;
  if (issue === undefined) return badRequest('Invalid request');
  const path = issue.path.map(String).join('.');
  return badRequest(path === '' ? issue.message : `${path}: ${issue.message}`, error);
}

/**
 * An envelope for anything thrown. Only an `AppError` shows its text; the rest is logged with its cause under the request's
 * id and answered blank, since database errors carry SQL and parameters.
 */
export function errorResponse(error: unknown, log: Logger, requestId: string): Response {
  if (error instanceof AppError) {
    if (error.status >= 500) log.warn('http.refused', { code: error.code }, error);
    if (error.code === 'internal') return blank(requestId);
    return failure(error);
  }
  if (error instanceof z.core.$ZodError) return failure(schemaError(error));
  const mapped = mapDbError(error);
  if (mapped.code !== 'internal') {
    log.warn('http.database', { code: mapped.code }, error);
    return failure(mapped);
  }
  log.error('http.failed', {}, error);
  return blank(requestId);
}

const blank = (requestId: string) =>
  failure(new AppError('internal', `Internal error (request ${requestId})`), { 'x-request-id': requestId });
