import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBase } from '#worker/http/base.ts';
import { type App, newApp } from '#worker/http/route.ts';
import { instanceRoutes } from '#worker/http/routes/instances.ts';
import { openWorld, type World } from '../../services/instance-world.ts';
import { type Client, makeClient, trust } from '../api.ts';

let client: Client;
beforeAll(async () => {
  client = await makeClient('laptop');
});
let world: World;
let app: App;
beforeEach(async () => {
  world = await openWorld();
  await trust(world.db, client);
  app = createBase(() => world.ctx);
  instanceRoutes(app);
});
afterEach(() => world.close());

/** A request as the TLS front hands it on; without a fingerprint nobody has shown a certificate. */
async function call(
  method: string,
  path: string,
  more: { body?: unknown; headers?: Record<string, string>; fingerprint?: string } = {},
) {
  const { body, headers = {}, fingerprint = client.fingerprint } = more;
  const init = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
  const request = new Request(`https://cluster${path}`, { method, headers, ...init });
  const tlsClientAuth = { certPresented: fingerprint === '' ? '0' : '1', certFingerprintSHA256: fingerprint };
  Object.defineProperty(request, 'cf', { value: { tlsClientAuth } });
  const response = await app.fetch(request, { SERVER_CERTIFICATE: '' });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text.startsWith('{') ? JSON.parse(text) : text };
}
const create = (name = 'c1', prefix = 'instances') =>
  call('POST', `/1.0/${prefix}`, { body: { name, source: { type: 'image', alias: 'bb' } } });

describe('/1.0/instances', () => {
  it('creates asynchronously, with the bare operation path', async () => {
    const answer = await create();
    expect(answer.status).toBe(202);
    expect(answer.body.operation).toMatch(/^\/1\.0\/operations\/[0-9a-f-]{36}$/);
    expect(answer.headers.get('location')).toBe(answer.body.operation);
  });

  it('answers under the old names, containers only under theirs', async () => {
    await create('c1', 'containers');
    expect((await call('GET', '/1.0/containers?filter=')).body.metadata).toEqual(['/1.0/containers/c1']);
    expect((await call('GET', '/1.0/virtual-machines')).body.metadata).toEqual([]);
    expect(await call('GET', '/1.0/virtual-machines/c1')).toMatchObject({
      status: 404,
      body: { error: 'Instance not found' },
    });
    expect((await create('c2', 'virtual-machines')).status).toBe(400);
  });

  it('takes an If-Match as it was given, weakened too, and refuses a stale one', async () => {
    await create();
    const tag = (await call('GET', '/1.0/instances/c1')).headers.get('etag') ?? '';
    const { metadata } = (await call('GET', '/1.0/instances/c1')).body;
    const put = (ifMatch: string, value: string) =>
      call('PUT', '/1.0/instances/c1', {
        headers: { 'if-match': ifMatch },
        body: { ...metadata, config: { ...metadata.config, 'user.x': value } },
      });
    expect((await put(`W/${tag}`, '1')).status).toBe(202);
    const stale = await put(tag, '2');
    expect(stale.status).toBe(412);
    expect(stale.body.error).toMatch(/^ETag doesn't match: /);
  });

  it('has empty lists of snapshots and backups, and says what it cannot do', async () => {
    await create();
    for (const list of ['snapshots', 'backups'])
      expect((await call('GET', `/1.0/instances/c1/${list}?recursion=1`)).body.metadata).toEqual([]);
    expect(await call('POST', '/1.0/instances/c1/snapshots', { body: {} })).toMatchObject({
      status: 501,
      body: { error: 'Snapshots are not supported in this version' },
    });
    const upload = { body: 'tarball', headers: { 'content-type': 'application/octet-stream' } };
    expect((await call('POST', '/1.0/instances', upload)).status).toBe(501);
    expect((await call('GET', '/1.0/instances/c1/backups/b0')).body.error).toBe(
      'Load backup from database: Instance backup not found',
    );
  });

  it('takes a state change of all with an empty query', async () => {
    await create();
    const answer = await call('PUT', '/1.0/instances?', { body: { state: { action: 'start', timeout: -1 } } });
    expect(answer).toMatchObject({ status: 202, body: { metadata: { description: 'Starting instance' } } });
    expect((await call('PUT', '/1.0/instances', { body: {} })).status).toBe(400);
  });

  it('names what it will not read as a log', async () => {
    await create();
    expect((await call('GET', '/1.0/instances/c1/logs')).body.metadata).toContain('/1.0/instances/c1/logs/lxc.log');
    expect((await call('GET', '/1.0/instances/c1/logs/..%2fpasswd')).body.error).toMatch(/not valid/);
  });

  it.each([
    ['GET', '/1.0/instances'],
    ['POST', '/1.0/instances'],
    ['PUT', '/1.0/instances/c1/state'],
    ['POST', '/1.0/instances/c1/exec'],
    ['GET', '/1.0/instances/c1/files?path=/etc/hosts'],
    ['DELETE', '/1.0/containers/c1'],
  ])('refuses %s %s to a stranger', async (method, path) => {
    const answer = await call(method, path, { fingerprint: 'bb'.repeat(32) });
    expect(answer).toMatchObject({ status: 403, body: { error: 'not authorized' } });
  });

  it('documents its bodies', () => {
    const fresh = newApp();
    instanceRoutes(fresh);
    const document = fresh.getOpenAPI31Document({ openapi: '3.1.0', info: { title: 't', version: '1' } });
    expect(Object.keys(document.components?.schemas ?? {})).toEqual(
      expect.arrayContaining(['InstancesPost', 'InstancePut']),
    );
    expect(document.paths?.['/1.0/instances/{name}/exec']?.post).toBeDefined();
  });
});
