import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { consumeJoinToken, planJoin } from '#worker/services/join.ts';
import { exchangeForJoinToken } from '#worker/services/join-token.ts';
import { certificates, members, serverConfig } from '#worker/state/schema.ts';
import { type Api, makeClient, openApi } from '../http/api.ts';
import { addMember, addPool, RESOURCES } from '../state/helpers.ts';

const SECRET = 'b'.repeat(64);
const JOIN = { version: '0.1.0', protocol: 1, resources: RESOURCES };

const stranger = (api: Api, address = '192.0.2.77') => ({
  ...api.ctx,
  principal: { protocol: 'tls' as const, username: '', address, projects: [], member: null },
});
const exchange = (api: Api, request: { serverName: string; password?: string; bootstrap?: string }, peer?: string) =>
  exchangeForJoinToken(stranger(api), request, peer ?? null);
const setPassword = (api: Api, value: string) =>
  api.call('PATCH', '/1.0', { body: { config: { 'core.trust_password': value } } });
const addBootstrap = (api: Api) =>
  api.db.insert(serverConfig).values({
    key: 'internal.bootstrap-token',
    value: createHash('sha256').update(SECRET).digest('hex'),
  });
const join = (api: Api, token: { secret: string; server_name: string }, publicKey = 'k') =>
  consumeJoinToken(api.ctx, { ...JOIN, secret: token.secret, serverName: token.server_name, publicKey });

describe('the trust password', () => {
  it('is turned into a join token for one name', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    const token = await exchange(api, { serverName: 'node2', password: 'sekret' });
    expect(token).toMatchObject({ server_name: 'node2', addresses: ['192.0.2.9:8443'] });
    expect(await join(api, token)).toEqual({ member: 'node2' });
  });

  it('lets nobody in when it is wrong, empty or not set, and not for a name that is taken', async () => {
    const api = await openApi();
    await expect(exchange(api, { serverName: 'node2', password: 'sekret' })).rejects.toThrow('not authorized');
    await setPassword(api, 'sekret');
    await expect(exchange(api, { serverName: 'node2', password: 'Sekret' })).rejects.toThrow('not authorized');
    await expect(exchange(api, { serverName: 'node2', password: '' })).rejects.toThrow('not authorized');
    await addMember(api.db, 'node2');
    await expect(exchange(api, { serverName: 'node2', password: 'sekret' })).rejects.toMatchObject({
      code: 'conflict',
      message: 'The cluster already has a member with name: node2',
    });
    expect(await api.db.select().from(members)).toHaveLength(1);
  });

  it('cannot be guessed quickly', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    for (let i = 0; i < 8; i += 1) {
      await expect(exchange(api, { serverName: 'node2', password: `guess${i}` })).rejects.toThrow();
    }
    await expect(exchange(api, { serverName: 'node2', password: 'sekret' })).rejects.toMatchObject({
      code: 'too_many',
      message: 'Too many failed attempts',
    });
  });
});

describe('the bootstrap token', () => {
  it('makes the first member and no other one', async () => {
    const api = await openApi();
    await addBootstrap(api);
    await expect(exchange(api, { serverName: 'node1', bootstrap: 'c'.repeat(64) })).rejects.toThrow('not this control');
    await join(api, await exchange(api, { serverName: 'node1', bootstrap: SECRET }));
    await expect(exchange(api, { serverName: 'node2', bootstrap: SECRET })).rejects.toThrow('first member only');
  });

  it('does not exist unless a self-hosted control plane made one', async () => {
    const api = await openApi();
    await expect(exchange(api, { serverName: 'node1', bootstrap: SECRET })).rejects.toMatchObject({
      code: 'forbidden',
    });
  });
});

describe('a joining server’s certificate', () => {
  const body = (name: string, password: string, certificate = '') => ({ name, type: 'server', certificate, password });

  it('may be sent instead of shown, as lxd init does', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    const server = await makeClient('node2');
    const sent = body('node2', 'sekret', server.der.toString('base64'));
    expect((await api.call('POST', '/1.0/certificates', { as: 'nobody', body: sent })).status).toBe(201);
    expect((await api.call('GET', '/1.0/cluster', { as: server })).status).toBe(200);
    const client = { ...sent, type: 'client' };
    expect((await api.call('POST', '/1.0/certificates', { as: 'nobody', body: client })).status).toBe(400);
  });

  it('may look at the cluster and join by its name, changes nothing else, and goes with the join', async () => {
    const api = await openApi();
    await addPool(api.db, 'local', { old: 'Created' });
    await setPassword(api, 'sekret');
    const server = await makeClient('node2');
    const trusted = await api.call('POST', '/1.0/certificates', { as: server, body: body('node2', 'sekret') });
    expect(trusted.status).toBe(201);
    expect((await api.call('GET', '/1.0', { as: server })).body.metadata.auth).toBe('trusted');
    expect((await api.call('GET', '/1.0/cluster', { as: server })).status).toBe(200);
    expect((await api.call('POST', '/1.0/cluster/members', { as: server, body: { server_name: 'x' } })).status).toBe(
      403,
    );
    expect((await api.call('GET', '/1.0/instances', { as: server })).status).not.toBe(200);

    await expect(exchange(api, { serverName: 'other' }, server.fingerprint)).rejects.toThrow('not authorized');
    await join(api, await exchange(api, { serverName: 'node2' }, server.fingerprint));
    expect((await api.db.select().from(certificates)).map(({ type }) => type)).toEqual(['client']);
    expect((await api.call('GET', '/1.0', { as: server })).body.metadata.auth).toBe('untrusted');
  });

  it('is trusted by a join token too, which stays good for the join', async () => {
    const api = await openApi();
    const invited = await api.call('POST', '/1.0/cluster/members', { body: { server_name: 'node3' } });
    const { secret, fingerprint, addresses } = invited.body.metadata.metadata;
    const text = btoa(JSON.stringify({ server_name: 'node3', secret, fingerprint, addresses, expires_at: '' }));
    const server = await makeClient('node3');
    expect((await api.call('POST', '/1.0/certificates', { as: server, body: body('node3', text) })).status).toBe(201);
    expect(await join(api, { secret, server_name: 'node3' })).toEqual({ member: 'node3' });
  });

  it('is worth nothing later than a join token would be', async () => {
    const api = await openApi();
    await setPassword(api, 'sekret');
    const server = await makeClient('node2');
    await api.call('POST', '/1.0/certificates', { as: server, body: body('node2', 'sekret') });
    api.clock.now = new Date(Date.now() + 4 * 3_600_000).toISOString();
    await expect(exchange(api, { serverName: 'node2' }, server.fingerprint)).rejects.toThrow('has expired');
  });
});

describe('the plan of a join', () => {
  it('tells what the host will get and be asked, and uses nothing up', async () => {
    const api = await openApi();
    await addPool(api.db, 'local', { old: 'Created' });
    await setPassword(api, 'sekret');
    const token = await exchange(api, { serverName: 'node2', password: 'sekret' });
    const request = { serverName: 'node2', secret: token.secret, fingerprint: token.fingerprint, publicKey: 'k' };
    const plan = await planJoin(api.ctx, request);
    expect(plan).toMatchObject({ joined: false, members: 0 });
    expect(plan.memberConfig.map(({ entity, name, key }) => [entity, name, key])).toEqual(
      plan.pools.map(({ name }) => ['storage-pool', name, 'source']),
    );
    expect((await planJoin(api.ctx, request)).joined).toBe(false);
    await join(api, token);
    expect((await planJoin(api.ctx, request)).joined).toBe(true);
    await expect(planJoin(api.ctx, { ...request, publicKey: 'other' })).rejects.toMatchObject({ code: 'forbidden' });
  });
});
