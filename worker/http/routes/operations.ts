/** Operations (lxd-api 3.2). */
import { z } from 'zod';
import { OperationWaitQuery } from '#protocol/api/operation.ts';
import { forbidden, fromWireError, WireError } from '#protocol/errors.ts';
import { statusName, withoutStreams } from '#worker/domain/operation.ts';
import { authorizeBySecret, getVisibleOperation, listVisibleOperations } from '#worker/services/operation-access.ts';
import { cancelOperation, waitOperation } from '#worker/services/operations.ts';
import { getOperation, type OperationRow, operationToApi } from '#worker/state/operations.ts';
import { sync } from '../envelope.ts';
import { type App, route } from '../route.ts';

/** How a stream says no: agents read the same. */
const StreamRefusal = z.object({ error: WireError });

const path = '/1.0/operations/:id';
const common = { tag: 'operations', answer: 'sync', access: 'trusted' } as const;

/** No proxy on the way keeps a silent request for longer; clients ask again. */
const WAIT_LIMIT_SECONDS = 3600;

export function operationRoutes(app: App): void {
  route(
    app,
    { ...common, method: 'get', path: '/1.0/operations', summary: 'Operations by status', lists: true },
    async ({ ctx, projects, recursion, readOnly }) => {
      const groups: Record<string, unknown[]> = {};
      for (const row of await listVisibleOperations(ctx, projects)) {
        const status = statusName(row.status).toLowerCase();
        groups[status] = [
          ...(groups[status] ?? []),
          recursion > 0 ? shown(row, readOnly) : `/1.0/operations/${row.id}`,
        ];
      }
      return sync(groups);
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One operation', scope: 'server' }, async (input) =>
    sync(shown(await getVisibleOperation(input.ctx, input.params.id), input.readOnly)),
  );
  route(
    app,
    { ...common, method: 'delete', path, summary: 'Cancel an operation', scope: 'server' },
    async ({ ctx, params }) => {
      await getVisibleOperation(ctx, params.id);
      await cancelOperation(ctx, params.id);
      return sync();
    },
  );
  route(
    app,
    {
      ...common,
      method: 'get',
      path: `${path}/wait`,
      summary: 'Wait until an operation ends',
      query: OperationWaitQuery,
      access: 'public',
    },
    async ({ ctx, params, query, trusted, readOnly }) => {
      if (query.secret !== undefined) await authorizeBySecret(ctx, params.id, query.secret);
      else if (!trusted) throw forbidden();
      else await getVisibleOperation(ctx, params.id);
      const timeout = query.timeout ?? -1;
      const seconds = Number.isNaN(timeout) || timeout < 0 ? -1 : Math.min(timeout, WAIT_LIMIT_SECONDS);
      const ended = await waitOperation(ctx, params.id, seconds);
      return sync(readOnly ? withoutStreams(ended) : ended);
    },
  );
  route(
    app,
    {
      method: 'get',
      path: `${path}/websocket`,
      summary: 'A stream of an operation; the secret is the authorisation',
      tag: 'operations',
      query: z.object({ secret: z.string().max(256) }),
      answer: 'websocket',
      access: 'secret',
    },
    async ({ ctx, params, request }) => {
      // No object is made for what is no operation: each leaves a file on a self-hosted disk.
      await getOperation(ctx.db, params.id);
      const answer = await ctx.objects.streams.connect(params.id, request);
      if (answer.status < 400) return answer;
      throw fromWireError(StreamRefusal.parse(await answer.json()).error);
    },
  );
}

const shown = (row: OperationRow, readOnly: boolean) => {
  const operation = operationToApi(row);
  return readOnly ? withoutStreams(operation) : operation;
};
