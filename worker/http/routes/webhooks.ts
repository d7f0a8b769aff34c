/** `/1.0/webhooks`: where lifecycle events are sent, signed (extension `longshore_webhooks`). */
import { WebhookPatch, WebhookPut, WebhooksPost } from '#protocol/api/webhook.ts';
import { createSealer } from '#worker/lib/seal.ts';
import {
  changeWebhook,
  createWebhook,
  getWebhook,
  removeWebhook,
  sentTo,
  webhooksOf,
  webhookToApi,
  webhookUrl,
  writableWebhook,
} from '#worker/services/webhooks.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const path = '/1.0/webhooks/:name';
const common = { tag: 'webhooks', answer: 'sync', access: 'trusted' } as const;

export function webhookRoutes(app: App): void {
  route(
    app,
    { ...common, method: 'get', path: '/1.0/webhooks', summary: 'Receivers of events', lists: true },
    async ({ ctx, projects, recursion }) => {
      const rows = await webhooksOf(ctx, projects);
      return sync(rows.map((row) => (recursion > 0 ? webhookToApi(row) : webhookUrl(row.project, row.name))));
    },
  );
  route(
    app,
    {
      ...common,
      method: 'post',
      path: '/1.0/webhooks',
      summary: 'Send events somewhere; the secret is shown this once',
      body: WebhooksPost,
      answer: 'created',
    },
    async ({ ctx, env, project, body }) => {
      const secret = await createWebhook({ ...ctx, sealer: createSealer(env) }, project, body);
      return created(webhookUrl('default', body.name), { name: body.name, secret });
    },
  );
  route(app, { ...common, method: 'get', path, summary: 'One receiver' }, async ({ ctx, project, params }) => {
    const row = await getWebhook(ctx, project, params.name);
    return sync(webhookToApi(row), { etag: await etag(writableWebhook(row)) });
  });
  route(
    app,
    { ...common, method: 'put', path, summary: 'Replace a receiver', body: WebhookPut },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getWebhook(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(writableWebhook(row)));
      await changeWebhook(ctx, row, body);
      return sync();
    },
  );
  route(
    app,
    { ...common, method: 'patch', path, summary: 'Change a receiver', body: WebhookPatch },
    async ({ ctx, project, params, body, ifMatch }) => {
      const row = await getWebhook(ctx, project, params.name);
      checkIfMatch(ifMatch, await etag(writableWebhook(row)));
      await changeWebhook(ctx, row, body);
      return sync();
    },
  );
  route(app, { ...common, method: 'delete', path, summary: 'Delete a receiver' }, async ({ ctx, project, params }) => {
    await removeWebhook(ctx, await getWebhook(ctx, project, params.name));
    return sync();
  });
  route(
    app,
    { ...common, method: 'get', path: `${path}/deliveries`, summary: 'What was sent lately, and how it went' },
    async ({ ctx, project, params }) => sync(await sentTo(ctx, await getWebhook(ctx, project, params.name))),
  );
}
