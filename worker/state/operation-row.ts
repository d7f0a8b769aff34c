/** Operation rows: how raw ones are read, what the API and the events show of them. Pure. */
import { z } from 'zod';
import { type OperationStatus, statusName } from '#worker/domain/operation.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import type { operations } from './schema.ts';

export type OperationRow = typeof operations.$inferSelect;

const json = <T extends z.ZodType>(schema: T) =>
  z
    .string()
    .nullable()
    .transform((text): unknown => (text === null ? null : JSON.parse(text)))
    .pipe(schema.nullable());

/** A row as libSQL answers it to a hand-written statement. */
export const OperationRecord = z
  .object({
    id: z.string(),
    project: z.string(),
    class: z.enum(['task', 'websocket', 'token']),
    description: z.string(),
    status: z.number(),
    /** LXD writes null for a kind without URLs. */
    resources: json(
      z.record(
        z.string(),
        z
          .array(z.string())
          .nullable()
          .transform((urls) => urls ?? []),
      ),
    ),
    metadata: json(z.record(z.string(), z.unknown())),
    may_cancel: z.number(),
    err: z.string(),
    location: z.string(),
    created_at: z.string(),
    updated_at: z.string(),
  })
  .transform(
    ({ may_cancel, created_at, updated_at, ...row }): OperationRow => ({
      ...row,
      mayCancel: may_cancel !== 0,
      createdAt: created_at,
      updatedAt: updated_at,
    }),
  );

/** An operation before it is written. Without `id` it gets one, without `status` it runs. */
export interface NewOperation {
  id?: string;
  project: string;
  class: OperationRow['class'];
  description: string;
  resources: Record<string, string[]> | null;
  metadata?: Record<string, unknown> | null;
  mayCancel: boolean;
  location: string;
  status?: OperationStatus;
}

/** LXD's operation object. */
export interface ApiOperation extends Record<string, unknown> {
  id: string;
  class: 'task' | 'websocket' | 'token';
  description: string;
  created_at: string;
  updated_at: string;
  status: string;
  status_code: number;
  resources: Record<string, string[] | null> | null;
  metadata: Record<string, unknown> | null;
  may_cancel: boolean;
  err: string;
  location: string;
}

/** The object that `GET /1.0/operations/<id>`, async answers and operation events carry. */
export function operationToApi(row: OperationRow): ApiOperation {
  return {
    id: row.id,
    class: row.class,
    description: row.description,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
    status: statusName(row.status),
    status_code: row.status,
    resources: row.resources,
    metadata: row.metadata,
    may_cancel: row.mayCancel,
    err: row.err,
    location: row.location,
  };
}

/** The event that tells listeners how the operation stands. An operation without a project goes to every listener. */
export function operationEvent(row: OperationRow): ClusterEvent {
  return {
    type: 'operation',
    timestamp: row.updatedAt,
    location: row.location,
    ...(row.project === '' ? {} : { project: row.project }),
    metadata: operationToApi(row),
  };
}
