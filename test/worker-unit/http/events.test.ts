import { describe, expect, it } from 'vitest';
import { makeClient, openApi, trust } from './api.ts';

const actions = (events: { metadata: { action: string } }[]) => events.map(({ metadata }) => metadata.action);

describe('kept events', () => {
  it('are listed from a cursor on, oldest first, with what a listener would have got', async () => {
    const api = await openApi();
    for (const name of ['one', 'two']) await api.call('POST', '/1.0/profiles', { body: { name } });
    const all = (await api.call('GET', '/1.0/events?since=0&all-projects=true')).body.metadata;
    expect(actions(all)).toEqual(['profile-created', 'profile-created']);
    expect(all).toEqual(JSON.parse(JSON.stringify(api.asked.published.filter(({ type }) => type === 'lifecycle'))));
    const [first] = all;
    expect((await api.call('GET', `/1.0/events?since=${first.id}`)).body.metadata).toEqual(all.slice(1));
    expect((await api.call('GET', '/1.0/events?since=0&type=operation')).body.metadata).toEqual([]);
  });

  it('are shown only to who may listen to them', async () => {
    const api = await openApi();
    await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    const as = await makeClient('blogger@host');
    await trust(api.db, as, { restricted: true, projects: ['blog'] });
    await api.call('POST', '/1.0/profiles', { body: { name: 'secret' } });
    await api.call('POST', '/1.0/profiles?project=blog', { body: { name: 'open' } });
    const { body } = await api.call('GET', '/1.0/events?since=0&project=blog', { as });
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(actions(body.metadata)).toContain('profile-created');
    expect((await api.call('GET', '/1.0/events?since=0', { as })).status).toBe(403);
    expect((await api.call('GET', '/1.0/events?since=0', { as: 'nobody' })).status).toBe(403);
  });

  it('come first on a websocket that asks for them; a cursor that is none is refused', async () => {
    const api = await openApi();
    const headers = { upgrade: 'websocket' };
    await api.call('GET', '/1.0/events?since=7', { headers });
    expect(api.asked.listening).toMatchObject([{ since: 7 }]);
    for (const since of ['-1', 'x', '1.5']) {
      expect([since, (await api.call('GET', `/1.0/events?since=${since}`)).status]).toEqual([since, 400]);
    }
    expect((await api.call('GET', '/1.0/events')).status).toBe(400);
  });
});
