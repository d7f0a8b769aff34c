/** `/1.0/triggers`: signed webhooks that launch instances (extension `longshore_triggers`). */
import { TriggerPatch, TriggerPut, TriggerSecretPost, TriggersPost } from '#protocol/api/trigger.ts';
import { createSealer } from '#worker/lib/seal.ts';
import { deliveryToApi, hookUrl, triggerToApi, writableOf } from '#worker/services/trigger-render.ts';
import {
  changeTrigger,
  createTrigger,
  getTrigger,
  recentDeliveries,
  removeTrigger,
  rotateSecret,
  triggersOf,
  triggerUrl,
} from '#worker/services/triggers.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/triggers/:name';
const common = { tag: 'triggers', answer: 'sync', access: 'trusted' } as const;

export function triggerRoutes(app: App): void {
  route(
    app,
    { ...common, method: 'get', path: '/1.0/triggers', summary: 'Triggers', lists: true },
    async ({ ctx, projects, recursion }) => {
      const rows = await triggersOf(ctx, projects);
      return sync(
        rows.map((row) =>
          recursion > 0 ? triggerToApi(row, ctx.vars.publicAddresses) : triggerUrl(row.project, row.name),
        ),
      );
    },
  );
  route(
    app,
    {
      ...common,
      method: 'post',
      path: '/1.0/triggers',
      summary: 'Create a trigger; its secret is shown this once',
      body: TriggersPost,
      answer: 'created',
    },
    async ({ ctx, env, project, body }) => {
      const { row, secret } = await createTrigger({ ...ctx, sealer: createSealer(env) }, project, body);
      const url = hookUrl(row.id, ctx.vars.publicAddresses);
      return created(triggerUrl('default', row.name), { name: row.name, url, secret });
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One trigger' }, async ({ ctx, project, params }) => {
    const row = await getTrigger(ctx, project, params.name);
    return sync(triggerToApi(row, ctx.vars.publicAddresses), { etag: await etag(writableOf(row)) });
  });
  route(
    app,
    { ...common, method: 'put', path, summary: 'Replace a trigger', body: TriggerPut },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getTrigger(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(writableOf(row)));
      await changeTrigger(ctx, row, body);
      return sync();
    },
  );
  route(
    app,
    { ...common, method: 'patch', path, summary: 'Change a trigger', body: TriggerPatch },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getTrigger(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(writableOf(row)));
      await changeTrigger(ctx, row, { patch: body });
      return sync();
    },
  );
  route(app, { ...common, method: 'delete', path, summary: 'Delete a trigger' }, async ({ ctx, project, params }) => {
    await removeTrigger(ctx, await getTrigger(ctx, project, params.name));
    return sync();
  });
  route(
    app,
    { ...common, method: 'post', path: `${path}/secret`, summary: 'Make a new secret', body: TriggerSecretPost },
    async ({ ctx, env, project, params, body }) => {
      const row = await getTrigger(ctx, project, params.name);
      return sync({ secret: await rotateSecret({ ...ctx, sealer: createSealer(env) }, row, body) });
    },
  );
  route(
    app,
    { ...common, method: 'get', path: `${path}/deliveries`, summary: 'Recent deliveries, newest first' },
    async ({ ctx, project, params }) => {
      const rows = await recentDeliveries(ctx, await getTrigger(ctx, project, params.name));
      return sync(rows.map(deliveryToApi));
    },
  );
}
