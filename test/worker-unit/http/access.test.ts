import { describe, expect, it } from 'vitest';
import { members, projects } from '#worker/state/schema.ts';
import { addMember, addOperation } from '../state/helpers.ts';
import { makeClient, openApi, trust } from './api.ts';

const DENIED = { type: 'error', error: 'not authorized', error_code: 403, metadata: null };

describe('who may call', () => {
  it('answers an unknown certificate with the short form of the server and nothing else', async () => {
    const api = await openApi();
    const stranger = await makeClient('stranger@host');
    for (const as of [stranger, 'nobody'] as const) {
      const { status, body } = await api.call('GET', '/1.0', { as });
      expect(status).toBe(200);
      expect(Object.keys(body.metadata).sort()).toEqual(
        ['api_extensions', 'api_status', 'api_version', 'auth', 'auth_methods', 'public'].sort(),
      );
      expect(body.metadata.auth).toBe('untrusted');
      expect((await api.call('GET', '/', { as })).body.metadata).toEqual(['/1.0']);
    }
  });

  it.each([
    ['PUT', '/1.0'],
    ['GET', '/1.0/events'],
    ['GET', '/1.0/operations'],
    ['GET', '/1.0/certificates'],
    ['GET', '/1.0/cluster'],
    ['GET', '/1.0/cluster/members'],
    ['POST', '/1.0/cluster/members'],
    ['GET', '/1.0/profiles'],
    ['GET', '/1.0/projects'],
    ['GET', '/1.0/warnings'],
    ['GET', '/1.0/resources'],
    ['GET', '/1.0/operations/4af03db9-f0b4-40a1-9c1b-30452c890901/wait'],
    ['GET', '/1.0/operations/4af03db9-f0b4-40a1-9c1b-30452c890901/wait?secret=guess'],
  ])('refuses %s %s without trust', async (method, path) => {
    const api = await openApi();
    const { status, body } = await api.call(method, path, { as: 'nobody' });
    expect(status).toBe(403);
    expect(body).toMatchObject(DENIED);
  });

  it('does not trust a certificate whose time is over', async () => {
    const api = await openApi();
    const old = await makeClient('old@host', 1);
    await trust(api.db, old);
    expect((await api.call('GET', '/1.0', { as: old })).body.metadata.auth).toBe('trusted');
    api.clock.now = '2126-01-01T00:00:00.000Z';
    expect((await api.call('GET', '/1.0', { as: old })).body.metadata.auth).toBe('untrusted');
  });

  it('does not let a metrics certificate do anything else', async () => {
    const api = await openApi();
    const scraper = await makeClient('prometheus@host');
    await trust(api.db, scraper, { type: 'metrics' });
    expect((await api.call('GET', '/1.0/profiles', { as: scraper })).status).toBe(403);
  });

  it('takes the local user of a member, as long as it is one', async () => {
    const api = await openApi();
    await addMember(api.db, 'm1');
    const as = { member: 'm1', user: 'ada' };
    const { body } = await api.call('GET', '/1.0', { as });
    expect(body.metadata).toMatchObject({ auth: 'trusted', auth_user_name: 'ada', auth_user_method: 'unix' });
    expect(body.metadata.environment.server_name).toBe('m1');
    await api.db.delete(members);
    expect((await api.call('GET', '/1.0', { as })).body.metadata.auth).toBe('untrusted');
    const forged = { authorization: 'Bearer a.b.c' };
    expect((await api.call('GET', '/1.0', { as: 'nobody', headers: forged })).body.metadata.auth).toBe('untrusted');
  });
});

describe('a certificate confined to a project', () => {
  async function confined() {
    const api = await openApi();
    await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    const as = await makeClient('blogger@host');
    await trust(api.db, as, { restricted: true, projects: ['blog'] });
    return { api, as };
  }

  it('works in its project and in no other', async () => {
    const { api, as } = await confined();
    expect((await api.call('GET', '/1.0/profiles?project=blog', { as })).status).toBe(200);
    expect((await api.call('GET', '/1.0/profiles', { as })).status).toBe(403);
    expect((await api.call('GET', '/1.0/profiles?project=nope', { as })).status).toBe(403);
    expect((await api.call('GET', '/1.0/profiles?all-projects=true', { as })).body.metadata).toEqual([
      '/1.0/profiles/default?project=blog',
    ]);
    expect((await api.call('GET', '/1.0/projects', { as })).body.metadata).toEqual(['/1.0/projects/blog']);
    expect((await api.call('GET', '/1.0/projects/default', { as })).status).toBe(403);
  });

  it('does not get into another project by asking for all', async () => {
    const { api, as } = await confined();
    for (const method of ['GET', 'PUT', 'PATCH', 'DELETE', 'POST']) {
      const body = method === 'GET' || method === 'DELETE' ? undefined : { name: 'mine', config: {} };
      const { status } = await api.call(method, '/1.0/profiles/default?all-projects=true', { as, body });
      expect([method, status]).toEqual([method, 403]);
    }
    expect((await api.call('POST', '/1.0/profiles?all-projects=1', { as, body: { name: 'x' } })).status).toBe(403);
  });

  it('cannot touch what belongs to the server, nor see its settings', async () => {
    const { api, as } = await confined();
    await api.call('PUT', '/1.0', { body: { config: { 'user.secret': 'x' } } });
    expect((await api.call('GET', '/1.0', { as })).body.metadata.config).toEqual({});
    for (const [method, path, body] of [
      ['PUT', '/1.0', { config: {} }],
      ['POST', '/1.0/certificates', { token: true, name: 'x' }],
      ['DELETE', `/1.0/certificates/${api.admin.fingerprint}`, undefined],
      ['POST', '/1.0/cluster/members', { server_name: 'm9' }],
      ['POST', '/1.0/projects', { name: 'mine' }],
      ['PUT', '/1.0/projects/blog', { config: {} }],
      ['GET', '/1.0/warnings', undefined],
    ] as const) {
      expect([method, path, (await api.call(method, path, { as, body })).status]).toEqual([method, path, 403]);
    }
    expect((await api.call('GET', '/1.0/certificates', { as })).body.metadata).toEqual([
      `/1.0/certificates/${as.fingerprint}`,
    ]);
  });

  it('sees its own operations only', async () => {
    const { api, as } = await confined();
    await addOperation(api.db, 'own', { project: 'blog' });
    await addOperation(api.db, 'other', { project: 'default' });
    await addOperation(api.db, 'server', { project: '' });
    expect((await api.call('GET', '/1.0/operations?project=blog', { as })).body.metadata).toEqual({
      running: ['/1.0/operations/own'],
    });
    expect((await api.call('GET', '/1.0/operations/other', { as })).status).toBe(404);
    expect((await api.call('DELETE', '/1.0/operations/server', { as })).status).toBe(404);
  });

  it('listens to events of one of its projects, never to all or to logs', async () => {
    const { api, as } = await confined();
    const headers = { upgrade: 'websocket' };
    const listen = (query: string) => api.call('GET', `/1.0/events?${query}`, { as, headers });
    expect((await listen('project=blog')).status).toBe(204);
    expect((await listen('all-projects=true')).status).toBe(204);
    const own = { types: null, project: 'blog', admin: false };
    expect(api.asked.listening).toEqual([own, own]);
    for (const query of ['project=default', '', 'project=blog&type=logging']) {
      expect([query, (await listen(query)).status]).toEqual([query, 403]);
    }
  });

  it('cannot put into a profile what gives it the host', async () => {
    const { api, as } = await confined();
    const put = (body: unknown) => api.call('PUT', '/1.0/profiles/default?project=blog', { as, body });
    expect((await put({ config: { 'limits.cpu': '1' } })).status).toBe(200);
    expect((await put({ config: { 'security.privileged': 'true' } })).status).toBe(403);
    expect((await put({ devices: { h: { type: 'disk', source: '/', path: '/mnt' } } })).status).toBe(403);
  });

  it('cannot change the default profiles that its project borrows', async () => {
    const { api, as } = await confined();
    await api.db.update(projects).set({ config: { 'features.profiles': 'false' } });
    expect((await api.call('GET', '/1.0/profiles/default?project=blog', { as })).status).toBe(200);
    const body = { config: { 'limits.cpu': '1' } };
    expect((await api.call('PATCH', '/1.0/profiles/default?project=blog', { as, body })).status).toBe(403);
  });
});

describe('requests as clients really send them', () => {
  it('tolerates a body on GET, an empty query and a trailing slash', async () => {
    const api = await openApi();
    expect((await api.call('GET', '/1.0/profiles?')).status).toBe(200);
    expect((await api.call('GET', '/1.0/profiles/')).status).toBe(200);
    expect((await api.call('GET', '/1.0/profiles?recursion=&filter=&project=')).status).toBe(200);
  });

  it('answers unknown paths and methods with an error envelope', async () => {
    const api = await openApi();
    const path = await api.call('GET', '/1.0/nope');
    expect(path.status).toBe(404);
    expect(path.body).toMatchObject({ type: 'error', error: 'not found', error_code: 404 });
    expect(path.headers.get('x-content-type-options')).toBe('nosniff');
    expect((await api.call('PUT', '/1.0/profiles')).body).toMatchObject({ error: 'not implemented', error_code: 501 });
  });

  it.each([
    ['{', 'Invalid JSON in the request body'],
    ['{"config":{"user.a":{"b":1}}}', 'config.user.a: Invalid input'],
    ['{"config":["x"]}', expect.stringContaining('config')],
  ])('refuses the body %s with 400', async (body, error) => {
    const api = await openApi();
    expect((await api.call('PUT', '/1.0', { body })).body).toMatchObject({ error_code: 400, error });
  });

  it('refuses a JSON body of more than a mebibyte', async () => {
    const api = await openApi();
    const body = { config: { 'user.a': 'x'.repeat(1024 * 1024) } };
    expect((await api.call('PUT', '/1.0', { body })).status).toBe(413);
  });

  it('refuses a project together with all of them, and one that does not exist', async () => {
    const api = await openApi();
    expect((await api.call('GET', '/1.0/profiles?project=default&all-projects=true')).body).toMatchObject({
      error_code: 400,
      error: 'Cannot specify a project when requesting all projects',
    });
    expect((await api.call('GET', '/1.0/profiles?project=nope')).body.error).toBe('Project not found');
  });
});
