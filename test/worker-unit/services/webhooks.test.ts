import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { webhookRoutes } from '#worker/http/routes/webhooks.ts';
import { prune } from '#worker/jobs/prune.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { createSealer } from '#worker/lib/seal.ts';
import { type SendContext, sendWebhooks } from '#worker/services/webhook-send.ts';
import { webhookQueue, webhooks } from '#worker/state/schema.ts';
import { isSweepNeeded } from '#worker/state/sweep.ts';
import { type Api, makeClient, openApi, trust } from '../http/api.ts';

interface Got {
  url: string;
  headers: Record<string, string>;
  body: string;
  allowPrivate: boolean;
}

/** The API and a receiver that answers with `status`; null: it is not there. */
async function openReceiver() {
  const api = await openApi(webhookRoutes);
  const got: Got[] = [];
  const receiver: { status: number | null } = { status: 200 };
  const ctx: SendContext = {
    ...api.ctx,
    sealer: createSealer({ SIGNING_SECRET: Buffer.alloc(32, 7).toString('base64') }),
    outbound: {
      post: async (url, request) => {
        got.push({ url, ...request });
        if (receiver.status === null) throw new Error('connect ECONNREFUSED 10.1.2.3:443');
        return receiver.status;
      },
    },
  };
  return { api, got, receiver, run: () => sendWebhooks(ctx) };
}

async function add(api: Api, body: object = {}, query = ''): Promise<string> {
  const hook = { name: 'chat', url: 'https://example.com/hook', actions: ['profile-*'], ...body };
  const answer = await api.call('POST', `/1.0/webhooks${query}`, { body: hook });
  if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
  return answer.body.metadata.secret;
}
const happen = (api: Api, name: string, query = '') => api.call('POST', `/1.0/profiles${query}`, { body: { name } });
const sent = async (api: Api) => (await api.call('GET', '/1.0/webhooks/chat/deliveries')).body.metadata;

describe('the sweep', () => {
  it('is needed from the first webhook to the last', async () => {
    const { api } = await openReceiver();
    expect(await isSweepNeeded(api.ctx.db)).toBe(false);
    await add(api);
    expect(await isSweepNeeded(api.ctx.db)).toBe(true);
    await api.call('DELETE', '/1.0/webhooks/chat');
    expect(await isSweepNeeded(api.ctx.db)).toBe(false);
  });
});

describe('a webhook', () => {
  it('gets what happens from now on, signed with the secret that was shown once', async () => {
    const { api, got, run } = await openReceiver();
    await happen(api, 'before');
    const secret = await add(api);
    await happen(api, 'after');
    await run();
    await run();
    expect(got).toHaveLength(1);
    const [{ headers, body, url }] = got as [Got];
    expect(url).toBe('https://example.com/hook');
    expect(new Webhook(secret).verify(body, headers)).toMatchObject({
      type: 'profile-created',
      data: { source: '/1.0/profiles/after', project: 'default', id: 3 },
    });
    expect(await sent(api)).toMatchObject([
      { event: 3, action: 'profile-created', status: 'sent', last_result: '200' },
    ]);
    const [row] = await api.db.select().from(webhooks);
    expect(JSON.stringify(row)).not.toContain(secret.slice(6));
    expect(JSON.stringify((await api.call('GET', '/1.0/webhooks?recursion=1')).body)).not.toContain(secret);
  });

  it('gets only the actions it asked for, of its project and of none', async () => {
    const { api, got, run } = await openReceiver();
    await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    await add(api);
    await add(api, { actions: [] }, '?project=blog');
    await happen(api, 'a');
    await happen(api, 'b', '?project=blog');
    await api.call('POST', '/1.0/cluster/groups', { body: { name: 'g' } });
    await run();
    const sources = got.map(({ body }) => JSON.parse(body).data.source).sort();
    expect(sources).toEqual([
      '/1.0/cluster/groups/g',
      '/1.0/profiles/a',
      '/1.0/profiles/b',
      '/1.0/webhooks/chat?project=blog',
    ]);
  });

  it('that does not answer gets it again later under the same id, also after a restart, until it is given up', async () => {
    const { api, got, receiver, run } = await openReceiver();
    await add(api);
    await happen(api, 'a');
    receiver.status = null;
    await run();
    await run();
    expect(got).toHaveLength(1);
    expect(await sent(api)).toMatchObject([{ status: 'waiting', attempts: 1, last_result: 'no answer' }]);
    receiver.status = 500;
    api.clock.now = shiftIso(new Date().toISOString(), 13_000);
    await run();
    expect(got).toHaveLength(2);
    receiver.status = 204;
    api.clock.now = shiftIso(api.clock.now, 73_000);
    await run();
    await run();
    expect(new Set(got.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(got).toHaveLength(3);
    expect(await sent(api)).toMatchObject([{ status: 'sent', attempts: 3 }]);
    receiver.status = 302;
    await happen(api, 'b');
    for (let hours = 0; hours < 60; hours += 1) {
      api.clock.now = shiftIso(api.clock.now, 3_600_000 * 1.2);
      await run();
    }
    expect((await sent(api))[0]).toMatchObject({ status: 'failed', attempts: 10, last_result: '302' });
  });

  it('is sent each event once by runs at the same time', async () => {
    const { api, got, run } = await openReceiver();
    await add(api);
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) await happen(api, name);
    await Promise.all([run(), run(), run()]);
    await run();
    expect(got).toHaveLength(7);
  });

  it('is sent nothing while it is disabled, nor what happened then', async () => {
    const { api, got, run } = await openReceiver();
    await add(api);
    await api.call('PATCH', '/1.0/webhooks/chat', { body: { enabled: false } });
    await happen(api, 'a');
    await run();
    await api.call('PATCH', '/1.0/webhooks/chat', { body: { enabled: true } });
    await happen(api, 'b');
    await run();
    expect(got.map(({ body }) => JSON.parse(body).data.source)).toEqual(['/1.0/profiles/b']);
  });

  it('is not sent to private addresses, unless an administrator says so', async () => {
    const { api } = await openReceiver();
    const post = (body: object, as?: Awaited<ReturnType<typeof makeClient>>, query = '') =>
      api.call('POST', `/1.0/webhooks${query}`, { body: { name: 'x', ...body }, ...(as && { as }) });
    expect((await post({ url: 'https://192.168.1.1/' })).status).toBe(400);
    await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    const blogger = await makeClient('blogger@host');
    await trust(api.db, blogger, { restricted: true, projects: ['blog'] });
    const inside = { url: 'http://192.168.1.1/', allow_private: true };
    expect((await post(inside, blogger, '?project=blog')).status).toBe(403);
    expect((await post(inside)).status).toBe(201);
    await add(api, { url: 'http://192.168.1.1/', allow_private: true }, '?project=blog');
    const moved = { body: { url: 'http://192.168.1.2/' }, as: blogger };
    expect((await api.call('PATCH', '/1.0/webhooks/chat?project=blog', moved)).status).toBe(403);
  });

  it('is edited by what was shown, and leaves no queue when it is deleted', async () => {
    const { api, receiver, run } = await openReceiver();
    receiver.status = null;
    await add(api);
    await happen(api, 'a');
    await run();
    const { body, headers } = await api.call('GET', '/1.0/webhooks/chat');
    const put = { ...body.metadata, description: 'new' };
    const ifMatch = { 'if-match': headers.get('etag') ?? '' };
    expect((await api.call('PUT', '/1.0/webhooks/chat', { body: put, headers: ifMatch })).status).toBe(200);
    expect((await api.call('PUT', '/1.0/webhooks/chat', { body: put, headers: ifMatch })).status).toBe(412);
    expect((await api.call('GET', '/1.0/webhooks')).body.metadata).toEqual(['/1.0/webhooks/chat']);
    expect((await api.call('DELETE', '/1.0/webhooks/chat')).status).toBe(200);
    expect(await api.db.select().from(webhookQueue)).toEqual([]);
    expect((await api.call('GET', '/1.0/webhooks/chat')).status).toBe(404);
  });

  it('forgets what it was sent with the event', async () => {
    const { api, run } = await openReceiver();
    await add(api);
    await happen(api, 'a');
    await run();
    await prune(api.db, shiftIso(new Date().toISOString(), 8 * 86_400_000));
    expect(await api.db.select().from(webhookQueue)).toEqual([]);
  });
});
