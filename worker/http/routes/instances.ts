/** `/1.0/instances` (lxd-api 5.4): lists, creation, one instance. The rest of the family is registered from here too. */
import { z } from 'zod';
import { InstancePatch, InstancePost, InstancePut, InstancesPost } from '#protocol/api/instance.ts';
import { AppError } from '#protocol/errors.ts';
import { readCopy } from '#worker/services/instance-copy.ts';
import { createInstance } from '#worker/services/instance-create.ts';
import { isMove, moveInstance } from '#worker/services/instance-move.ts';
import { deleteInstance, renameInstance } from '#worker/services/instance-state.ts';
import { patchInstance, putInstance } from '#worker/services/instance-update.ts';
import { getApiInstance, listApiInstances } from '#worker/services/instances.ts';
import { waitForCreated } from '#worker/services/operations.ts';
import { async_, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { instanceExecRoutes } from './instance-exec.ts';
import { instanceFileRoutes } from './instance-files.ts';
import { instanceLogRoutes } from './instance-logs.ts';
import { INSTANCE_PREFIXES, type InstancePrefix, requirePrefix } from './instance-prefix.ts';
import { instanceSnapshotRoutes } from './instance-snapshots.ts';
import { instanceStateRoutes } from './instance-state.ts';

const ListQuery = z.object({ filter: z.string().optional() });

/** Everything below `/1.0/instances` and its two older names. */
export function instanceRoutes(app: App): void {
  for (const prefix of INSTANCE_PREFIXES) {
    collectionRoutes(app, prefix);
    itemRoutes(app, prefix);
  }
  instanceStateRoutes(app);
  instanceExecRoutes(app);
  instanceFileRoutes(app);
  instanceLogRoutes(app);
  instanceSnapshotRoutes(app);
}

function collectionRoutes(app: App, prefix: InstancePrefix): void {
  const shared = { path: `/1.0/${prefix}` as const, tag: 'instances', access: 'trusted' } as const;

  route(
    app,
    { ...shared, method: 'get', summary: 'List instances', query: ListQuery, answer: 'sync', lists: true },
    async ({ ctx, query, projects, recursion }) => {
      if (prefix === 'virtual-machines') return sync([]);
      return sync(await listApiInstances(ctx, { projects, recursion, filter: query.filter ?? '', prefix }));
    },
  );

  // The body's type alone tells a backup to import from a request; any other type may be JSON.
  app.post(shared.path, async (c, next) => {
    if (c.req.header('content-type')?.startsWith('application/octet-stream'))
      throw new AppError('not_implemented', 'Importing backups is not supported in this version');
    await next();
  });

  route(
    app,
    { ...shared, method: 'post', summary: 'Create an instance', body: InstancesPost, answer: 'async' },
    async ({ ctx, body, project, target }) => {
      const type = body.type === '' && prefix === 'virtual-machines' ? 'virtual-machine' : body.type;
      return async_(await createInstance(ctx, await readCopy(ctx, { project, target, body: { ...body, type } })));
    },
  );
}

function itemRoutes(app: App, prefix: InstancePrefix): void {
  const shared = { path: `/1.0/${prefix}/:name` as const, tag: 'instances', access: 'trusted' } as const;
  const preconditionOf = (ifMatch: string | null) => async (parts: unknown) => {
    if (ifMatch !== null) checkIfMatch(ifMatch, await etag(parts));
  };

  route(
    app,
    { ...shared, method: 'get', summary: 'Get an instance', answer: 'sync' },
    async ({ ctx, params, project, recursion }) => {
      requirePrefix(prefix);
      const { instance, parts } = await getApiInstance(ctx, project, params.name, recursion > 0);
      return sync(instance, { etag: await etag(parts) });
    },
  );

  route(
    app,
    { ...shared, method: 'put', summary: 'Replace the configuration', body: InstancePut, answer: 'async' },
    async ({ ctx, params, body, project, ifMatch }) => {
      requirePrefix(prefix);
      const request = { project, name: params.name, precondition: preconditionOf(ifMatch) };
      return async_(await putInstance(ctx, request, body));
    },
  );

  route(
    app,
    { ...shared, method: 'patch', summary: 'Change parts of the configuration', body: InstancePatch, answer: 'sync' },
    async ({ ctx, params, body, project, ifMatch }) => {
      requirePrefix(prefix);
      const request = { project, name: params.name, precondition: preconditionOf(ifMatch) };
      const operation = await patchInstance(ctx, request, body);
      await waitForCreated(ctx, operation.id);
      return sync();
    },
  );

  route(
    app,
    {
      ...shared,
      method: 'post',
      summary: 'Rename an instance, or move it to another member',
      body: InstancePost,
      answer: 'async',
    },
    async ({ ctx, params, body, project, target }) => {
      requirePrefix(prefix);
      const request = { project, name: params.name, target };
      return async_(await (isMove(request, body) ? moveInstance : renameInstance)(ctx, request, body));
    },
  );

  route(
    app,
    { ...shared, method: 'delete', summary: 'Delete an instance', answer: 'async' },
    async ({ ctx, params, project }) => {
      requirePrefix(prefix);
      return async_(await deleteInstance(ctx, project, params.name));
    },
  );
}
