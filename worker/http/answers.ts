/** The shapes of answers, for the OpenAPI document. What makes them is in `envelope.ts`; a test holds the two together. */
import { z } from '@hono/zod-openapi';
import { OPERATION_STATUSES } from '#worker/domain/operation.ts';

const operationPath = z.string().regex(/^\/1\.0\/operations\//);

const Operation = z
  .object({
    id: z.string(),
    class: z.enum(['task', 'websocket', 'token']),
    description: z.string(),
    created_at: z.string(),
    updated_at: z.string(),
    status: z.string(),
    status_code: z.literal([...OPERATION_STATUSES]),
    resources: z.record(z.string(), z.array(z.string()).nullable()).nullable(),
    metadata: z.record(z.string(), z.unknown()).nullable(),
    may_cancel: z.boolean(),
    err: z.string(),
    location: z.string(),
  })
  .meta({ id: 'Operation', description: 'A background operation; `…/wait` answers once it has ended' });

export const SyncAnswer = z
  .object({
    type: z.literal('sync'),
    status: z.literal('Success'),
    status_code: z.literal(200),
    operation: z.literal(''),
    error_code: z.literal(0),
    error: z.literal(''),
    metadata: z.unknown(),
  })
  .meta({ id: 'SyncAnswer', description: 'Done; `metadata` is what was asked for' });

export const AsyncAnswer = z
  .object({
    type: z.literal('async'),
    status: z.literal('Operation created'),
    status_code: z.literal(100),
    operation: operationPath,
    error_code: z.literal(0),
    error: z.literal(''),
    metadata: Operation,
  })
  .meta({ id: 'AsyncAnswer', description: 'Begun; `operation` is where its end can be waited for' });

export const ErrorAnswer = z
  .object({
    type: z.literal('error'),
    status: z.literal(''),
    status_code: z.literal(0),
    operation: z.literal(''),
    error_code: z.number().int(),
    error: z.string(),
    metadata: z.null(),
  })
  .meta({ id: 'ErrorAnswer', description: 'Refused or failed; nothing was done' });
