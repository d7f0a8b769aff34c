import { describe, expect, it } from 'vitest';
import { listServerConfig } from '#worker/state/config.ts';
import { serverConfig, tokens } from '#worker/state/schema.ts';
import { type Api, type Client, makeClient, openApi } from './api.ts';

const CERTIFICATES = '/1.0/certificates';

async function makeToken(api: Api, body: Record<string, unknown>) {
  const { status, body: answer } = await api.call('POST', CERTIFICATES, {
    body: { type: 'client', ...body, token: true },
  });
  expect(status).toBe(202);
  const { secret, fingerprint, addresses, request } = answer.metadata.metadata;
  const token = { client_name: request.name, secret, fingerprint, addresses, expires_at: '0001-01-01T00:00:00Z' };
  return { operation: answer.metadata, token: btoa(JSON.stringify(token)), secret };
}

const present = (api: Api, as: Client, password: string) =>
  api.call('POST', CERTIFICATES, { as, body: { name: '', type: 'client', password, token: false } });

describe('certificate tokens', () => {
  it('let one client in, once, as the token says', async () => {
    const api = await openApi();
    await api.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    const { token, operation } = await makeToken(api, { name: 'laptop', restricted: true, projects: ['blog'] });
    expect(operation).toMatchObject({ class: 'token', status: 'Running', may_cancel: true, resources: null });
    const [client, other] = [await makeClient('ada@laptop'), await makeClient('eve@host')];
    const { status, headers } = await present(api, client, token);
    expect([status, headers.get('location')]).toEqual([201, `${CERTIFICATES}/${client.fingerprint}`]);
    expect((await api.call('GET', `${CERTIFICATES}/${client.fingerprint.slice(0, 12)}`)).body.metadata).toMatchObject({
      name: 'laptop',
      type: 'client',
      restricted: true,
      projects: ['blog'],
      certificate: client.pem,
    });
    expect((await api.call('GET', '/1.0', { as: client })).body.metadata.auth).toBe('trusted');
    expect((await api.call('GET', `/1.0/operations/${operation.id}`)).body.metadata.status).toBe('Success');
    expect((await present(api, other, token)).body).toMatchObject({
      error_code: 403,
      error: 'No matching certificate add operation found',
    });
  });

  it('are stored as hashes: nothing shown or kept later is the secret', async () => {
    const api = await openApi();
    const { secret, operation } = await makeToken(api, { name: 'laptop' });
    expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(await api.db.select().from(tokens))).not.toContain(secret);
    const shown = await api.call('GET', `/1.0/operations/${operation.id}`);
    expect(JSON.stringify(shown.body)).not.toContain(secret);
    expect(JSON.stringify(api.asked.published)).not.toContain(secret);
    // Stock clients list only operations that have a secret and a request.
    expect(shown.body.metadata.metadata).toMatchObject({ secret: expect.any(String), request: { name: 'laptop' } });
  });

  it('do not work any more when cancelled or expired', async () => {
    const api = await openApi();
    const client = await makeClient('ada@laptop');
    const first = await makeToken(api, { name: 'a' });
    expect((await api.call('DELETE', `/1.0/operations/${first.operation.id}`)).status).toBe(200);
    expect((await present(api, client, first.token)).status).toBe(403);
    await api.call('PATCH', '/1.0', { body: { config: { 'core.remote_token_expiry': '1H' } } });
    const second = await makeToken(api, { name: 'b' });
    api.clock.now = new Date(Date.now() + 3_600_001).toISOString();
    expect((await present(api, client, second.token)).status).toBe(403);
    expect((await api.call('GET', '/1.0/operations')).body.metadata.running).toBeUndefined();
  });

  it('let exactly one of two clients in that come at the same moment', async () => {
    const api = await openApi();
    const { token } = await makeToken(api, { name: 'laptop' });
    const clients = await Promise.all(['a', 'b', 'c'].map((name) => makeClient(name)));
    const answers = await Promise.all(clients.map((client) => present(api, client, token)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 403, 403]);
    expect((await api.call('GET', CERTIFICATES)).body.metadata).toHaveLength(2);
  });

  it('are for client certificates only', async () => {
    const api = await openApi();
    const { body } = await api.call('POST', CERTIFICATES, { body: { name: 'x', type: 'metrics', token: true } });
    expect(body).toMatchObject({ error_code: 400, error: 'Tokens can only be issued for client certificates' });
  });
});

describe('the trust password', () => {
  const setPassword = (api: Api, password: string) =>
    api.call('PATCH', '/1.0', { body: { config: { 'core.trust_password': password } } });

  it('lets a client in, and is neither stored nor shown', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    const client = await makeClient('ada@laptop');
    expect((await present(api, client, 'wrong')).body).toMatchObject({ error_code: 403, error: 'not authorized' });
    expect((await present(api, client, 'sekret')).status).toBe(201);
    expect((await api.call('GET', `${CERTIFICATES}/${client.fingerprint}`)).body.metadata.name).toBe('ada@laptop');
    expect((await listServerConfig(api.db))['core.trust_password']).toMatch(/^pbkdf2/);
    expect((await api.call('GET', '/1.0')).body.metadata.config['core.trust_password']).toBe('true');
  });

  it('survives an edit of the configuration, and is removed by an empty value', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    const { config } = (await api.call('GET', '/1.0')).body.metadata;
    await api.call('PUT', '/1.0', { body: { config: { ...config, 'user.a': 'b' } } });
    expect((await present(api, await makeClient('one'), 'sekret')).status).toBe(201);
    await setPassword(api, '');
    expect((await present(api, await makeClient('two'), 'sekret')).status).toBe(403);
  });

  it('is not even compared after many failures from one address, until a minute is over', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    api.clock.now = new Date().toISOString();
    const client = await makeClient('ada@laptop');
    for (let attempt = 0; attempt < 8; attempt += 1)
      expect((await present(api, client, `w${attempt}`)).status).toBe(403);
    const refused = await present(api, client, 'sekret');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '8']);
    expect(refused.body).toMatchObject({ type: 'error', error_code: 429, error: 'Too many failed attempts' });
    expect(Object.keys((await api.call('GET', '/1.0')).body.metadata.config).join()).not.toContain('internal');
    api.clock.now = new Date(Date.parse(api.clock.now) + 61_000).toISOString();
    expect((await present(api, client, 'sekret')).status).toBe(201);
    expect(await api.db.select().from(serverConfig)).toHaveLength(2);
  });

  it('lets nobody in when none is set, or without a certificate', async () => {
    const api = await openApi();
    const client = await makeClient('ada@laptop');
    expect((await present(api, client, '')).status).toBe(403);
    expect((await present(api, client, 'true')).status).toBe(403);
    const { body } = await api.call('POST', CERTIFICATES, { as: 'nobody', body: { password: 'x' } });
    expect(body).toMatchObject({ error_code: 400, error: 'No client certificate provided' });
  });
});

describe('the trust store', () => {
  it('takes a certificate from a trusted caller once', async () => {
    const api = await openApi();
    const client = await makeClient('ada@laptop');
    const body = { name: 'file1', type: 'client', projects: null, certificate: client.der.toString('base64') };
    expect((await api.call('POST', CERTIFICATES, { body })).status).toBe(201);
    expect((await api.call('POST', CERTIFICATES, { body })).body).toMatchObject({
      error_code: 409,
      error: 'Certificate already in trust store',
    });
    expect(api.asked.published.map(({ metadata }) => metadata.action)).toEqual(['certificate-created']);
  });

  it.each([
    [{ certificate: 'AAAA' }, /^Invalid certificate material: /],
    [{ certificate: 'not base64!' }, /^Invalid certificate material: /],
    [{ certificate: '' }, /^Client is already trusted$/],
    [{ certificate: '', type: 'client', token: true, projects: ['nope'] }, /^Project not found$/],
  ])('refuses %j', async (body, error) => {
    const api = await openApi();
    expect((await api.call('POST', CERTIFICATES, { body })).body.error).toMatch(error);
  });

  it('changes, with If-Match, and forgets', async () => {
    const api = await openApi();
    const client = await makeClient('ada@laptop');
    await api.call('POST', CERTIFICATES, { body: { name: 'x', certificate: client.pem } });
    const path = `${CERTIFICATES}/${client.fingerprint}`;
    const shown = await api.call('GET', path);
    const tag = shown.headers.get('etag') ?? '';
    const put = (headers: HeadersInit) =>
      api.call('PUT', path, { body: { ...shown.body.metadata, name: 'y' }, headers });
    expect((await put({ 'if-match': `W/${tag}` })).status).toBe(200);
    const stale = await put({ 'if-match': tag });
    expect([stale.status, stale.body.error]).toEqual([412, expect.stringMatching(/^ETag doesn't match: \w+ vs \w+$/)]);
    expect((await api.call('PATCH', path, { body: { restricted: true } })).status).toBe(200);
    expect((await api.call('GET', path)).body.metadata).toMatchObject({ name: 'y', restricted: true });
    expect((await api.call('DELETE', path)).status).toBe(200);
    expect((await api.call('GET', path)).body).toMatchObject({ error_code: 404, error: 'Certificate not found' });
    expect((await api.call('GET', '/1.0', { as: client })).body.metadata.auth).toBe('untrusted');
  });
});
