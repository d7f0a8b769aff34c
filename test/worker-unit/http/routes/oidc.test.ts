import fc from 'fast-check';
import { createRemoteJWKSet, customFetch, decodeJwt, jwtVerify, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { signToken } from '#worker/lib/access-token.ts';
import { newOidcKey, signAccessToken } from '#worker/lib/oidc-token.ts';
import { issueSession } from '#worker/lib/session.ts';
import { deviceLogins, serverConfig, userLogins, users } from '#worker/state/schema.ts';
import {
  askForLogin,
  bear,
  decide,
  fetchLogin,
  ISSUER,
  jsonOf,
  logIn,
  look,
  obtainTokens,
  openIssuer,
  openPage,
  PASSWORD,
  refresh,
} from './oidc-world.ts';

const later = (ms: number) => new Date(Date.now() + ms).toISOString();

describe('the built-in issuer', () => {
  it('is not there before the first user, nor while another one is configured, nor after the last user', async () => {
    const world = await openIssuer();
    const discovery = async () => (await world.send('/issuer/.well-known/openid-configuration')).status;
    const methods = async () => (await world.call('GET', '/1.0', { as: 'nobody' })).body.metadata.auth_methods;
    expect([await discovery(), await methods()]).toEqual([404, ['tls']]);
    expect((await world.send('/issuer/device', { form: { client_id: 'longshore' } })).status).toBe(404);
    await world.addUser('ada');
    expect([await discovery(), await methods()]).toEqual([200, ['tls', 'oidc']]);
    const elsewhere = { 'oidc.issuer': 'https://id.example.org', 'oidc.client.id': 'lxd' };
    await world.call('PATCH', '/1.0', { body: { config: elsewhere } });
    expect([await discovery(), await methods()]).toEqual([404, ['tls', 'oidc']]);
    await world.call('PATCH', '/1.0', { body: { config: { 'oidc.client.id': '' } } });
    expect([await discovery(), await methods()]).toEqual([404, ['tls']]);
    await world.call('PATCH', '/1.0', { body: { config: { 'oidc.issuer': '' } } });
    await world.call('DELETE', '/1.0/auth/users/ada');
    expect([await discovery(), await methods()]).toEqual([404, ['tls']]);
  });

  it('describes itself under the address that was asked, and under its first one to others', async () => {
    const world = await openIssuer();
    world.ctx.vars.publicAddresses = ['192.0.2.1:8443', '192.0.2.9:8443'];
    await world.addUser('ada');
    const described = async () => (await world.send('/issuer/.well-known/openid-configuration')).json();
    expect(await described()).toMatchObject({
      issuer: ISSUER,
      jwks_uri: `${ISSUER}/keys`,
      device_authorization_endpoint: `${ISSUER}/device`,
      token_endpoint: `${ISSUER}/token`,
    });
    world.ctx.vars.publicAddresses = ['192.0.2.1:8443'];
    expect(await described()).toMatchObject({ issuer: 'https://192.0.2.1:8443/issuer' });
  });

  it('logs a program in once a person has allowed it, once', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    expect(await jsonOf(await fetchLogin(world, device))).toEqual({ error: 'authorization_pending' });
    const first = await openPage(world, device);
    expect(first.text).toContain(`value="${device.user_code}"`);
    const second = await logIn(world, first, { code: device.user_code, name: 'ada', password: PASSWORD });
    expect(second.text).toContain('203.0.113.5');
    expect((await jsonOf(await fetchLogin(world, device))).error).toBe('authorization_pending');
    expect((await decide(world, second, 'allow')).text).toContain('Logged in');
    const tokens = await jsonOf(await fetchLogin(world, device));
    expect(tokens).toMatchObject({ token_type: 'Bearer', expires_in: 3600 });
    expect(await jsonOf(await fetchLogin(world, device))).toEqual({ error: 'invalid_grant' });
    const server = await jsonOf(await bear(world, tokens.access_token, '/1.0'));
    expect(server.metadata).toMatchObject({ auth: 'trusted', auth_user_name: 'ada', auth_user_method: 'oidc' });
    expect((await decide(world, second, 'deny')).status).toBe(409);
  });

  it('signs what any OIDC client can verify by its published keys', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    const first = await openPage(world, device);
    await decide(
      world,
      await logIn(world, first, { code: device.user_code, name: 'ada', password: PASSWORD }),
      'allow',
    );
    const { id_token } = await jsonOf(await fetchLogin(world, device));
    const keys = createRemoteJWKSet(new URL(`${ISSUER}/keys`), {
      [customFetch]: (url: string) => world.send(new URL(url).pathname),
    });
    const { payload } = await jwtVerify(id_token, keys, { issuer: ISSUER, audience: 'longshore' });
    expect(payload.sub).toBe('ada');
    // For the client alone.
    expect((await bear(world, id_token, '/1.0/profiles')).status).toBe(401);
    const [{ value } = { value: '' }] = (await world.db.select().from(serverConfig)).filter(({ key }) =>
      key.startsWith('internal.oidc'),
    );
    expect(value).not.toContain('"d":');
    expect((await world.call('GET', '/1.0')).body.metadata.config).not.toHaveProperty('internal.oidc-key');
  });

  it('tells a program that its login was denied, or came too late', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    const page = await logIn(world, await openPage(world, device), {
      code: device.user_code.toLowerCase().replace('-', ''),
      name: 'ada',
      password: PASSWORD,
    });
    expect((await decide(world, page, 'deny')).text).toContain('Denied');
    expect(await jsonOf(await fetchLogin(world, device))).toEqual({ error: 'access_denied' });
    const late = await askForLogin(world);
    world.clock.now = later(601_000);
    expect(await jsonOf(await fetchLogin(world, late))).toEqual({ error: 'expired_token' });
    const refused = await logIn(world, await openPage(world, late), {
      code: late.user_code,
      name: 'ada',
      password: PASSWORD,
    });
    expect([refused.status, refused.text]).toEqual([404, expect.stringContaining('No program waits')]);
  });

  it('refreshes until the login ends, and never for a made-up token', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const { refresh_token, access_token } = await obtainTokens(world, 'ada');
    world.clock.now = later(3_700_000);
    const expired = await bear(world, access_token, '/1.0/profiles');
    expect([expired.status, expired.headers.get('x-incus-oidc-issuer')]).toEqual([401, ISSUER]);
    const [one, other] = await Promise.all([refresh(world, refresh_token), refresh(world, refresh_token)]);
    for (const answer of [one, other]) {
      expect((await bear(world, (await jsonOf(answer)).access_token ?? '', '/1.0/profiles')).status).toBe(200);
    }
    expect(await jsonOf(await refresh(world, 'f'.repeat(64)))).toEqual({ error: 'invalid_grant' });
    world.clock.now = later(31 * 86_400_000);
    expect(await jsonOf(await refresh(world, refresh_token))).toEqual({ error: 'invalid_grant' });
  });

  it.each([
    [{}, 'invalid_client'],
    [{ client_id: 'other', grant_type: 'refresh_token' }, 'invalid_client'],
    [{ client_id: 'longshore' }, 'invalid_request'],
    [{ client_id: 'longshore', grant_type: 'password' }, 'unsupported_grant_type'],
    [{ client_id: 'longshore', grant_type: 'refresh_token' }, 'invalid_grant'],
  ])('answers a token request of %j with %s', async (form, error) => {
    const world = await openIssuer();
    await world.addUser('ada');
    expect(await jsonOf(await world.send('/issuer/token', { form }))).toEqual({ error });
  });

  it('keeps secrets as hashes', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const waiting = await askForLogin(world);
    const { refresh_token } = await obtainTokens(world, 'ada');
    const stored = JSON.stringify([
      await world.db.select().from(users),
      await world.db.select().from(deviceLogins),
      await world.db.select().from(userLogins),
    ]);
    for (const secret of [PASSWORD, waiting.device_code, refresh_token]) expect(stored).not.toContain(secret);
  });

  it('lets only so many programs wait at once, from one address', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    for (let asked = 0; asked < 20; asked += 1) await askForLogin(world);
    const refused = await world.send('/issuer/device', { form: { client_id: 'longshore' } });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '3']);
    const elsewhere = { form: { client_id: 'longshore' }, headers: { 'cf-connecting-ip': '203.0.113.6' } };
    expect((await world.send('/issuer/device', elsewhere)).status).toBe(200);
    world.clock.now = later(601_000);
    expect((await world.send('/issuer/device', { form: { client_id: 'longshore' } })).status).toBe(200);
    expect(await world.db.select().from(deviceLogins)).toHaveLength(1);
  });
});

describe('the login page', () => {
  it('takes no wrong password, and after many from one address none for a while', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    world.clock.now = new Date().toISOString();
    const device = await askForLogin(world);
    const first = await openPage(world, device);
    const attempt = (name: string, password: string) => logIn(world, first, { code: device.user_code, name, password });
    const wrong = await attempt('ada', 'wrong password');
    const nobody = await attempt('eve', PASSWORD);
    expect([wrong.status, nobody.status]).toEqual([403, 403]);
    expect(wrong.text).toContain('Wrong name or password');
    let last = wrong;
    for (let tried = 0; tried < 12 && last.status === 403; tried += 1) last = await attempt('ada', `wrong${tried}`);
    expect(last.status).toBe(429);
    expect((await attempt('ada', PASSWORD)).status).toBe(429);
    world.clock.now = later(3_700_000);
    const again = await askForLogin(world);
    const page = await openPage(world, again);
    expect((await logIn(world, page, { code: again.user_code, name: 'ada', password: PASSWORD })).status).toBe(200);
  });

  it('takes no form that was made for another browser, or none, or another step, or too long ago', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    const fields = { code: device.user_code, name: 'ada', password: PASSWORD };
    const [mine, other] = [await openPage(world, device), await openPage(world, device)];
    expect(mine.cookie).not.toBe(other.cookie);
    for (const page of [
      { ...mine, cookie: other.cookie },
      { ...mine, cookie: '' },
      { ...mine, form: 'v1.AAAA.AAAA' },
    ]) {
      const refused = await logIn(world, page, fields);
      expect([refused.status, refused.text]).toEqual([400, expect.stringContaining('expired')]);
    }
    expect((await decide(world, mine, 'allow')).status).toBe(400);
    const second = await logIn(world, mine, fields);
    expect((await decide(world, { ...second, cookie: other.cookie }, 'allow')).status).toBe(400);
    world.clock.now = later(599_000);
    const slow = await openPage(world, device);
    world.clock.now = later(1_300_000);
    expect((await logIn(world, slow, fields)).status).toBe(400);
    expect(await world.db.select().from(userLogins)).toHaveLength(0);
  });

  it('shows what it was sent as text, loads nothing, and is framed by nobody', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    const evil = '"><script>alert(1)</script>';
    const response = await world.send(`/issuer/login?user_code=${encodeURIComponent(evil)}`);
    expect(response.headers.get('content-security-policy')).toMatch(
      /^default-src 'none'; style-src 'nonce-[^']+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
    );
    expect(response.headers.get('set-cookie')).toMatch(/^__Host-\S+; Path=\/; Secure; HttpOnly; SameSite=Strict$/);
    const page = await look(response);
    const again = await logIn(world, page, { code: evil, name: evil, password: 'x' });
    expect(page.text + again.text).not.toContain('<script');
    expect(again.text).toContain('&quot;&gt;&lt;script&gt;');
    expect(device.user_code).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  });
});

describe('whatever is sent to the issuer', () => {
  it('is answered with a refusal that says what is wrong, never with an error of ours', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const device = await askForLogin(world);
    const { form, cookie } = await openPage(world, device);
    const garbage = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.constantFrom(
        form,
        device.device_code,
        device.user_code,
        'longshore',
        'refresh_token',
        'ada',
        '',
        'v1.e30.e30',
      ),
    );
    const field = fc.constantFrom('form', 'user_code', 'name', 'grant_type', 'device_code', 'client_id', 'decision');
    const path = fc.constantFrom('/issuer/device', '/issuer/token', '/issuer/login', '/issuer/login/decision');
    const headers = fc.record({
      cookie: fc.constantFrom(cookie, 'a', '__Host-longshore-login=%00'),
      authorization: fc.constantFrom('Basic !', 'Basic OjolRTA=', 'Bearer x'),
    });
    await fc.assert(
      fc.asyncProperty(path, fc.dictionary(field, garbage), headers, async (to, fields, sent) => {
        const { status } = await world.send(to, { form: fields, headers: sent });
        expect([200, 400, 401, 403, 404, 409, 429]).toContain(status);
      }),
      { numRuns: 150 },
    );
    const large = await world.send('/issuer/token', { form: { client_id: 'x'.repeat(20_000) } });
    expect(large.status).toBe(413);
    expect(await world.db.select().from(userLogins)).toEqual([]);
  });
});

describe('an access token', () => {
  it('has the rights of its user, as they are now', async () => {
    const world = await openIssuer();
    await world.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    await world.addUser('ada', { projects: ['blog'] });
    const { access_token } = await obtainTokens(world, 'ada');
    const status = async (path: string) => (await bear(world, access_token, path)).status;
    expect([await status('/1.0/profiles?project=blog'), await status('/1.0/profiles')]).toEqual([200, 403]);
    expect(await status('/1.0/auth/users')).toBe(403);
    await world.call('PATCH', '/1.0/auth/users/ada', { body: { projects: null } });
    expect([await status('/1.0/profiles'), await status('/1.0/auth/users')]).toEqual([200, 200]);
  });

  it('follows its user’s project to another name, and has none left once that is deleted', async () => {
    const world = await openIssuer();
    await world.call('POST', '/1.0/projects', { body: { name: 'blog' } });
    await world.addUser('ada', { projects: ['blog'] });
    const { access_token } = await obtainTokens(world, 'ada');
    await world.call('POST', '/1.0/projects/blog', { body: { name: 'diary' } });
    expect((await bear(world, access_token, '/1.0/profiles?project=diary')).status).toBe(200);
    await world.call('DELETE', '/1.0/projects/diary');
    const [{ projects } = {}] = (await world.call('GET', '/1.0/auth/users?recursion=1')).body.metadata;
    expect(projects).toEqual([]);
  });

  it.each([
    ['the user is removed', 'DELETE', undefined],
    ['the password changes', 'PATCH', { password: 'another long password' }],
  ])('is refused from the moment that %s, its refresh token too', async (_, method, body) => {
    const world = await openIssuer();
    await world.addUser('ada');
    await world.addUser('bob');
    const tokens = await obtainTokens(world, 'ada');
    const others = await obtainTokens(world, 'bob');
    expect((await world.call(method, '/1.0/auth/users/ada', { body })).status).toBe(200);
    const refused = await bear(world, tokens.access_token, '/1.0/profiles');
    expect([refused.status, (await jsonOf(refused)).error]).toEqual([401, 'not authorized']);
    expect(await jsonOf(await refresh(world, tokens.refresh_token))).toEqual({ error: 'invalid_grant' });
    expect((await bear(world, others.access_token, '/1.0/profiles')).status).toBe(200);
    if (method === 'DELETE') {
      await world.addUser('ada');
      expect((await bear(world, tokens.access_token, '/1.0/profiles')).status).toBe(401);
    }
  });

  it('is worth nothing once another issuer is configured', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const { access_token } = await obtainTokens(world, 'ada');
    const config = { 'oidc.issuer': 'https://id.example.org', 'oidc.client.id': 'lxd' };
    await world.call('PATCH', '/1.0', { body: { config } });
    const refused = await bear(world, access_token, '/1.0/profiles');
    expect([refused.status, refused.headers.get('x-lxd-oidc-issuer')]).toEqual([401, 'https://id.example.org']);
  });

  it('is none of another kind, whatever it says of itself', async () => {
    const world = await openIssuer();
    await world.addUser('ada');
    const { access_token } = await obtainTokens(world, 'ada');
    const { sid, ...claims } = decodeJwt(access_token);
    const login = { issuer: ISSUER, loginId: String(sid), userName: 'ada', now: new Date().toISOString() };
    const secret = Buffer.alloc(32, 7);
    const forged = [
      // Signed by somebody else, by the secret that signs sessions, by nobody.
      await signAccessToken(await newOidcKey('other'), login, 'longshore'),
      await new SignJWT({ ...claims, sid }).setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' }).sign(secret),
      `${btoa('{"alg":"none","typ":"at+jwt"}').replace(/=/g, '')}.${access_token.split('.')[1]}.`,
      `${access_token.slice(0, -6)}AAAAAA`,
      // Good ones of other kinds, and their keys with our claims.
      await signToken(world.env, String(sid), login.now, later(60_000)),
      await issueSession(world.env, 'host1', 'key-of-host1'),
      await new SignJWT({ ...claims, sid, aud: 'longshore-agent' }).setProtectedHeader({ alg: 'HS256' }).sign(secret),
    ];
    for (const token of forged) {
      const refused = await bear(world, token, '/1.0/profiles');
      expect([401, 403]).toContain(refused.status);
    }
    expect((await bear(world, access_token, '/1.0/profiles')).status).toBe(200);
  });
});

describe('a client that wants to log in', () => {
  it.each([
    ['with an empty bearer token', { authorization: 'Bearer ' }],
    ['asking to be known', { 'x-incus-authenticated': 'true' }],
    ['asking to be known, in LXD’s words', { 'x-lxd-authenticated': 'true' }],
  ])('is told 401 and where, %s', async (_, headers) => {
    const world = await openIssuer();
    await world.addUser('ada');
    for (const path of ['/1.0', '/1.0/profiles']) {
      const answer = await world.send(path, { headers: headers as unknown as Record<string, string> });
      expect(answer.status).toBe(401);
      for (const family of ['lxd', 'incus']) {
        expect(answer.headers.get(`x-${family}-oidc-issuer`)).toBe(ISSUER);
        expect(answer.headers.get(`x-${family}-oidc-clientid`)).toBe('longshore');
      }
    }
  });

  it('is a stranger like others where there is no way to log in', async () => {
    const world = await openIssuer();
    const answers = await Promise.all([
      world.send('/1.0', { headers: { authorization: 'Bearer' } }),
      world.send('/1.0/profiles', { headers: { authorization: 'Bearer' } }),
      world.send('/1.0', { headers: { 'x-incus-authenticated': 'true' } }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 403, 403]);
    for (const answer of answers) expect(answer.headers.get('x-incus-oidc-issuer')).toBeNull();
  });

  it('is told of the configured issuer, with its audience and scopes', async () => {
    const world = await openIssuer();
    const config = {
      'oidc.issuer': 'https://id.example.org/realm',
      'oidc.client.id': 'lxd',
      'oidc.audience': 'https://api.example.org',
      'oidc.scopes': 'openid, email',
    };
    expect((await world.call('PATCH', '/1.0', { body: { config } })).status).toBe(200);
    const { headers } = await world.send('/1.0/profiles');
    expect(headers.get('x-incus-oidc-issuer')).toBe('https://id.example.org/realm');
    expect(headers.get('x-incus-oidc-audience')).toBe('https://api.example.org');
    expect([headers.get('x-incus-oidc-scopes'), headers.get('x-lxd-oidc-scopes')]).toEqual([
      'openid,email',
      '["openid","email"]',
    ]);
  });

  it.each([
    ['oidc.issuer', 'http://id.example.org'],
    ['oidc.issuer', 'id.example.org'],
    ['oidc.issuer', 'https://id.example.org/?a=b'],
    ['oidc.issuer', 'https://ada:pw@id.example.org'],
    ['oidc.client.id', 'lxd\r\nset-cookie: a=b'],
    ['oidc.allow_private', 'perhaps'],
  ])('cannot be sent to %s = %j: the configuration is refused', async (key, value) => {
    const world = await openIssuer();
    const { status, body } = await world.call('PATCH', '/1.0', { body: { config: { [key]: value } } });
    expect([status, body.error]).toEqual([400, expect.stringContaining(`cannot set '${key}'`)]);
  });
});

describe('a user', () => {
  it('is given a password that is shown once, when none was chosen', async () => {
    const world = await openIssuer();
    const { status, body } = await world.call('POST', '/1.0/auth/users', { body: { name: 'ada' } });
    expect([status, body.metadata.password]).toEqual([201, expect.stringMatching(/^([a-z2-9]{6}-){3}[a-z2-9]{6}$/)]);
    const shown = (await world.call('GET', '/1.0/auth/users?recursion=1')).body.metadata;
    expect(shown).toEqual([{ name: 'ada', projects: null, read_only: false, created_at: expect.any(String) }]);
    expect(JSON.stringify(world.asked.published)).not.toContain(body.metadata.password);
    expect(world.asked.published[0]?.metadata).toMatchObject({ action: 'auth-user-created' });
  });

  it.each([
    [{ name: '' }, 400],
    [{ name: 'a b' }, 400],
    [{ name: '-rf' }, 400],
    [{ name: 'Ada' }, 400],
    [{ name: 'bob', password: 'short' }, 400],
    [{ name: 'bob', projects: [] }, 400],
    [{ name: 'bob', projects: ['nope'] }, 404],
    [{ name: 'ada' }, 409],
  ])('is not made of %j', async (body, status) => {
    const world = await openIssuer();
    await world.addUser('ada');
    expect((await world.call('POST', '/1.0/auth/users', { body })).status).toBe(status);
    expect((await world.call('GET', '/1.0/auth/users')).body.metadata).toEqual(['/1.0/auth/users/ada']);
  });
});
