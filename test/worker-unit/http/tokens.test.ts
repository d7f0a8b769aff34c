import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { accessTokenRoutes } from '#worker/http/routes/access-tokens.ts';
import { prune } from '#worker/jobs/prune.ts';
import { issueSession } from '#worker/lib/session.ts';
import { accessTokens, serverConfig } from '#worker/state/schema.ts';
import { addOperation } from '../state/helpers.ts';
import { type Api, openApi } from './api.ts';

const TOKENS = '/1.0/auth/tokens';
const DAY_MS = 86_400_000;

const issue = async (api: Api, body: Record<string, unknown>) => {
  const { status, body: answer } = await api.call('POST', TOKENS, { body: { name: 'ci', ...body } });
  expect(status).toBe(201);
  return answer.metadata as { id: string; token: string };
};

/** A request with a bearer token and nothing else. */
const bear = (api: Api, token: string, method: string, path: string, more: { body?: unknown; from?: string } = {}) =>
  api.call(method, path, {
    as: 'nobody',
    ...(more.body === undefined ? {} : { body: more.body }),
    headers: { authorization: `Bearer ${token}`, 'cf-connecting-ip': more.from ?? '203.0.113.5' },
  });

describe('a bearer token', () => {
  it('is shown once and stored as a hash', async () => {
    const api = await openApi(accessTokenRoutes);
    const { id, token } = await issue(api, { expiry: '2H' });
    expect(JSON.stringify(await api.db.select().from(accessTokens))).not.toContain(token);
    expect((await api.call('GET', TOKENS)).body.metadata).toEqual([`${TOKENS}/${id}`]);
    const [shown] = (await api.call('GET', `${TOKENS}?recursion=1`)).body.metadata;
    expect(shown).toMatchObject({ id, name: 'ci', scope: 'full', projects: null });
    expect(Date.parse(shown.expires_at) - Date.parse(shown.created_at)).toBe(2 * 3_600_000);
    expect((await api.call('GET', `${TOKENS}/${id}`)).body.metadata).toEqual(shown);
    expect(JSON.stringify([shown, api.asked.published])).not.toContain(token);
  });

  it('is an administrator when it is full and of no project, named by its id', async () => {
    const api = await openApi(accessTokenRoutes);
    const { id, token } = await issue(api, { scope: 'full' });
    const { metadata } = (await bear(api, token, 'GET', '/1.0')).body;
    expect(metadata).toMatchObject({ auth: 'trusted', auth_user_name: id, auth_user_method: 'token' });
    expect((await bear(api, token, 'PATCH', '/1.0', { body: { config: { 'user.a': 'b' } } })).status).toBe(200);
    expect(api.asked.published.at(-1)?.metadata).toMatchObject({ requestor: { username: id, protocol: 'token' } });
  });

  it('is nobody’s once it is revoked, from the next request on', async () => {
    const api = await openApi(accessTokenRoutes);
    const { id, token } = await issue(api, {});
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(200);
    expect((await api.call('DELETE', `${TOKENS}/${id}`)).status).toBe(200);
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
    expect((await bear(api, token, 'GET', '/1.0')).body.metadata.auth).toBe('untrusted');
    expect((await api.call('DELETE', `${TOKENS}/${id}`)).body).toMatchObject({
      error_code: 404,
      error: 'Token not found',
    });
  });

  it('ends by itself, and is forgotten', async () => {
    const api = await openApi(accessTokenRoutes);
    const { id, token } = await issue(api, { expiry: '1d' });
    api.clock.now = new Date(Date.now() + DAY_MS - 60_000).toISOString();
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(200);
    api.clock.now = new Date(Date.now() + DAY_MS + 60_000).toISOString();
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
    expect((await api.call('GET', TOKENS)).body.metadata).toEqual([]);
    expect((await api.call('GET', `${TOKENS}/${id}`)).status).toBe(404);
    await prune(api.db, api.clock.now);
    expect(await api.db.select().from(accessTokens)).toEqual([]);
  });

  it('keeps to its projects, and loses one that is deleted', async () => {
    const api = await openApi(accessTokenRoutes);
    for (const name of ['blog', 'shop']) await api.call('POST', '/1.0/projects', { body: { name } });
    const { id, token } = await issue(api, { projects: ['blog', 'shop'] });
    expect((await bear(api, token, 'GET', '/1.0/profiles?project=blog')).status).toBe(200);
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
    expect((await bear(api, token, 'POST', TOKENS, { body: { name: 'more' } })).status).toBe(403);
    await api.call('POST', '/1.0/projects/blog', { body: { name: 'diary' } });
    expect((await api.call('GET', `${TOKENS}/${id}`)).body.metadata.projects).toEqual(['diary', 'shop']);
    for (const name of ['diary', 'shop']) await api.call('DELETE', `/1.0/projects/${name}`);
    // None left is not the same as all.
    expect((await api.call('GET', `${TOKENS}/${id}`)).body.metadata.projects).toEqual([]);
    expect((await bear(api, token, 'GET', '/1.0/projects')).body.metadata).toEqual([]);
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
  });

  it('changes nothing when it is read-only, and cannot make itself more', async () => {
    const api = await openApi(accessTokenRoutes);
    const { token } = await issue(api, { scope: 'read-only' });
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(200);
    expect((await bear(api, token, 'GET', TOKENS)).status).toBe(200);
    const denied = { error_code: 403, error: 'not authorized' };
    for (const [method, path, body] of [
      ['PATCH', '/1.0', { config: { 'user.a': 'b' } }],
      ['POST', TOKENS, { name: 'more' }],
      ['POST', '/1.0/certificates', { token: true, name: 'more' }],
      ['POST', '/1.0/profiles', { name: 'p1' }],
    ] as const) {
      expect((await bear(api, token, method, path, { body })).body).toMatchObject(denied);
    }
  });

  it('does not learn, when it is read-only, what opens the streams of others', async () => {
    const api = await openApi(accessTokenRoutes);
    const metadata = { command: ['sh'], fds: { '0': 'a'.repeat(64), control: 'b'.repeat(64) } };
    await addOperation(api.db, 'exec', { project: 'default', metadata });
    const [reader, full] = [await issue(api, { scope: 'read-only' }), await issue(api, {})];
    for (const path of ['/1.0/operations/exec', '/1.0/operations?recursion=1', '/1.0/operations/exec/wait?timeout=0']) {
      expect(JSON.stringify((await bear(api, reader.token, 'GET', path)).body)).not.toContain('aaaa');
      expect(JSON.stringify((await bear(api, full.token, 'GET', path)).body)).toContain('aaaa');
    }
  });

  it('is for nothing else when it is for metrics', async () => {
    const api = await openApi(accessTokenRoutes);
    const { token } = await issue(api, { scope: 'metrics' });
    expect((await bear(api, token, 'GET', '/1.0')).body.metadata.auth).toBe('untrusted');
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
  });

  it.each([
    [{ name: '' }, 400, 'A token needs a name of 1 to 64 printable characters'],
    [{ name: 'a\nb' }, 400, 'A token needs a name of 1 to 64 printable characters'],
    [{ scope: 'root' }, 400, 'Invalid token scope "root"'],
    [{ expiry: 'soon' }, 400, 'Invalid expiry expression: a token lives up to two years'],
    [{ expiry: '0d' }, 400, 'Invalid expiry expression: a token lives up to two years'],
    [{ expiry: '999999y' }, 400, 'Invalid expiry expression: a token lives up to two years'],
    [{ projects: [] }, 400, 'A token without any project is good for nothing'],
    [{ projects: ['nope'] }, 404, 'Project not found'],
  ])('is not issued for %j', async (change, code, error) => {
    const api = await openApi(accessTokenRoutes);
    const { body } = await api.call('POST', TOKENS, { body: { name: 'ci', ...change } });
    expect(body).toMatchObject({ error_code: code, error });
    expect(await api.db.select().from(accessTokens)).toEqual([]);
  });

  it('is told from the one of another control plane, of a host, and from its own claims under another key', async () => {
    const api = await openApi(accessTokenRoutes);
    const { id } = await issue(api, {});
    const other = await openApi(accessTokenRoutes);
    const { token: foreign } = await issue(other, {});
    const expiry = Math.floor(Date.now() / 1000) + 3600;
    const forged = await new SignJWT({ iss: 'longshore', aud: 'longshore-api', jti: id, exp: expiry })
      .setProtectedHeader({ alg: 'HS256', typ: 'longshore-token+jwt' })
      .sign(Buffer.alloc(32, 7));
    const session = await issueSession({ SIGNING_SECRET: Buffer.alloc(32, 9).toString('base64') }, 'm1', 'key-of-m1');
    for (const token of [foreign, forged, session, `${foreign}x`]) {
      expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(403);
    }
  });
});

describe('bad bearer tokens', () => {
  it('are answered 429 after a few from one address, while good ones from there go on', async () => {
    const api = await openApi(accessTokenRoutes);
    api.clock.now = new Date().toISOString();
    const { token } = await issue(api, {});
    const guess = (from: string) => bear(api, 'a.b.c', 'GET', '/1.0/profiles', { from });
    for (let attempt = 0; attempt < 8; attempt += 1) expect((await guess('203.0.113.5')).status).toBe(403);
    const refused = await guess('203.0.113.5');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '15']);
    expect(refused.body).toMatchObject({ type: 'error', error_code: 429, metadata: null });
    expect((await bear(api, token, 'GET', '/1.0/profiles')).status).toBe(200);
    expect((await guess('203.0.113.6')).status).toBe(403);
    // What is refused costs nothing: it does not push the end away.
    for (let attempt = 0; attempt < 50; attempt += 1) await guess('203.0.113.5');
    api.clock.now = new Date(Date.parse(api.clock.now) + 15_000).toISOString();
    expect((await guess('203.0.113.5')).status).toBe(403);
    expect((await guess('203.0.113.5')).status).toBe(429);
  });

  it('count for the whole network that an IPv6 host has', async () => {
    const api = await openApi(accessTokenRoutes);
    for (let host = 1; host <= 8; host += 1)
      expect((await bear(api, 'a.b.c', 'GET', '/1.0', { from: `2001:db8:1:2::${host}` })).status).toBe(200);
    expect((await bear(api, 'a.b.c', 'GET', '/1.0', { from: '2001:db8:1:2:3::9' })).status).toBe(429);
    expect((await bear(api, 'a.b.c', 'GET', '/1.0', { from: '2001:db8:1:3::1' })).status).toBe(200);
  });

  it('from many addresses fill no more than a thousand rows, which go by themselves', async () => {
    const api = await openApi(accessTokenRoutes);
    api.clock.now = new Date().toISOString();
    const later = new Date(Date.parse(api.clock.now) + 1_000).toISOString();
    const rows = Array.from({ length: 1_500 }, (_, at) => ({ key: `internal.trust-failures/${at}`, value: later }));
    await api.db.insert(serverConfig).values(rows);
    await bear(api, 'a.b.c', 'GET', '/1.0');
    expect(await api.db.select().from(serverConfig)).toHaveLength(1_000);
    api.clock.now = new Date(Date.parse(api.clock.now) + 10_000).toISOString();
    await bear(api, 'a.b.c', 'GET', '/1.0');
    expect(await api.db.select().from(serverConfig)).toHaveLength(1);
  });
});
