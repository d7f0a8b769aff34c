/**
 * Operations that a host runs on its own, in memory like LXD's: they end with the agent. Listeners hear of every change, the
 * last one after its effects.
 */
import { randomUUID } from 'node:crypto';
import { AppError, toWireError } from '#protocol/errors.ts';
import type { LocalEvent } from './events.ts';

/** LXD forgets after 5 s; a client that lost its events socket still finds out. */
const KEPT_MS = 60_000;

const STATUS = { 103: 'Running', 200: 'Success', 400: 'Failure' } as const;
type Status = keyof typeof STATUS;

/** LXD's operation object. */
export interface ApiOperation {
  id: string;
  class: 'task' | 'websocket';
  description: string;
  created_at: string;
  updated_at: string;
  status: (typeof STATUS)[Status];
  status_code: Status;
  resources: Record<string, string[]>;
  metadata: Record<string, unknown> | null;
  may_cancel: boolean;
  err: string;
  location: string;
}

export interface OperationDraft extends Pick<ApiOperation, 'class' | 'description' | 'resources' | 'metadata'> {
  id?: string;
  project: string;
}

/** How the work went: metadata to merge, and the text of a failure that is an answer, too. */
export interface OperationEnd {
  metadata?: Record<string, unknown>;
  err?: string;
}

export interface Operations {
  /** Runs `work`; what it throws is the operation's failure. */
  start(draft: OperationDraft, work: () => Promise<OperationEnd>): ApiOperation;
  find(id: string): ApiOperation | null;
  list(project: string | null): ApiOperation[];
  /** As it is when final, or after `timeoutMs` (null: no limit). Null for one that is not known. */
  wait(id: string, timeoutMs: number | null): Promise<ApiOperation | null>;
  /** Calls back when nothing runs any more: at once when nothing does. */
  whenIdle(act: () => void): void;
}

export function createOperations(deps: { location: string; publish(event: LocalEvent): void }): Operations {
  const known = new Map<string, { project: string; operation: ApiOperation; done: Promise<void> }>();

  const put = (project: string, operation: ApiOperation, done: Promise<void>) => {
    known.set(operation.id, { project, operation, done });
    const { updated_at: timestamp } = operation;
    deps.publish({ type: 'operation', timestamp, location: deps.location, project, metadata: operation });
  };

  const ended = (operation: ApiOperation, { metadata, err = '' }: OperationEnd): ApiOperation => ({
    ...operation,
    ...(err === '' ? { status: STATUS[200], status_code: 200 } : { status: STATUS[400], status_code: 400 }),
    metadata: metadata === undefined ? operation.metadata : { ...operation.metadata, ...metadata },
    err,
    updated_at: new Date().toISOString(),
  });

  return {
    start: ({ id = randomUUID(), project, ...draft }, work) => {
      const now = new Date().toISOString();
      const operation: ApiOperation = {
        id,
        ...draft,
        created_at: now,
        updated_at: now,
        status: STATUS[103],
        status_code: 103,
        may_cancel: false,
        err: '',
        location: deps.location,
      };
      let settle = () => {};
      const done = new Promise<void>((resolve) => {
        settle = resolve;
      });
      put(project, operation, done);
      void work()
        .catch((error: unknown): OperationEnd => ({ err: messageOf(error) }))
        .then((end) => {
          put(project, ended(operation, end), done);
          settle();
          setTimeout(() => known.delete(id), KEPT_MS).unref();
        });
      return operation;
    },
    find: (id) => known.get(id)?.operation ?? null,
    list: (project) =>
      [...known.values()].filter((entry) => project === null || entry.project === project).map((it) => it.operation),
    wait: async (id, timeoutMs) => {
      const entry = known.get(id);
      if (entry === undefined) return null;
      await (timeoutMs === null ? entry.done : Promise.race([entry.done, elapsed(timeoutMs)]));
      return known.get(id)?.operation ?? null;
    },
    whenIdle: (act) => {
      const running = [...known.values()].filter(({ operation }) => operation.status_code === 103);
      void Promise.all(running.map(({ done }) => done)).then(act);
    },
  };
}

/** Meant for people; of anything unexpected nothing is told. */
const messageOf = (error: unknown): string =>
  error instanceof AppError ? toWireError(error).message : 'Internal error';

const elapsed = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
