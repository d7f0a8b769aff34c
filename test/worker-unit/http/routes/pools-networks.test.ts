import { beforeEach, describe, expect, it } from 'vitest';
import { networkRoutes } from '#worker/http/routes/networks.ts';
import { storagePoolRoutes } from '#worker/http/routes/storage-pools.ts';
import { addMember } from '../../state/helpers.ts';
import { type Api, makeClient, openApi, trust } from '../api.ts';

let api: Api;
beforeEach(async () => {
  api = await openApi((app) => {
    storagePoolRoutes(app);
    networkRoutes(app);
  });
  for (const name of ['node1', 'node2']) await addMember(api.db, name, { online: false });
});

const post = (path: string, body: unknown) => api.call('POST', path, { body });

describe('pools and networks over HTTP', () => {
  it.each([
    ['/1.0/storage-pools', { name: 'data', driver: 'dir', config: null, description: '' }],
    ['/1.0/networks', { name: 'data', type: '', config: {}, description: '' }],
  ])('POST %s answers 201 in both phases; GET, If-Match, PUT and DELETE follow', async (path, body) => {
    for (const query of ['?target=node1', '?target=node2', '']) {
      const made = await post(path + query, body);
      expect(made).toMatchObject({ status: 201, body: { type: 'sync', status_code: 200, metadata: null } });
      expect(made.headers.get('location')).toBe(`${path}/data`);
    }
    expect((await api.call('GET', path)).body.metadata).toContain(`${path}/data`);
    expect((await api.call('GET', `${path}?recursion=1`)).body.metadata[0]).toMatchObject({
      name: 'data',
      locations: ['node1', 'node2'],
    });
    const got = await api.call('GET', `${path}/data`);
    const config = { ...got.body.metadata.config, 'user.a': true };
    const headers = { 'if-match': got.headers.get('etag') ?? '' };
    expect((await api.call('PUT', `${path}/data`, { body: { config, description: 'd' }, headers })).status).toBe(200);
    expect((await api.call('PUT', `${path}/data`, { body: { config }, headers })).status).toBe(412);
    expect((await api.call('GET', `${path}/data`)).body.metadata).toMatchObject({
      description: 'd',
      config: { 'user.a': 'true' },
    });
    expect(await api.call('DELETE', `${path}/data`)).toMatchObject({ status: 200, body: { metadata: {} } });
    expect((await api.call('GET', `${path}/data`)).status).toBe(404);
  });

  it.each([
    ['GET', '/1.0/storage-pools/nope', 404, 'Storage pool not found'],
    ['GET', '/1.0/storage-pools/nope/volumes', 404, 'Storage pool not found'],
    ['GET', '/1.0/networks/nope', 404, 'Network not found'],
    ['GET', '/1.0/networks/nope/leases', 404, 'Failed loading network: Network not found'],
    ['POST', '/1.0/networks/nope', 404, 'Network not found'],
    ['POST', '/1.0/storage-pools?target=nope', 404, 'Cluster member not found'],
  ])('%s %s is %i', async (method, path, status, error) => {
    const body = method === 'GET' ? undefined : { name: 'data', driver: 'dir' };
    expect(await api.call(method, path, { body })).toMatchObject({ status, body: { error } });
  });

  it('renaming a network and importing a volume are refused with a reason', async () => {
    await post('/1.0/networks', { name: 'br0' });
    expect((await post('/1.0/networks/br0', { name: 'br1' })).body.error).toBe(
      'Renaming clustered network not supported',
    );
    const headers = { 'content-type': 'application/octet-stream', 'x-lxd-name': 'v' };
    const path = '/1.0/storage-pools/data/volumes/custom';
    expect((await api.call('POST', path, { body: {}, headers })).body.error).toBe(
      'Importing storage volumes is not supported in this version',
    );
  });

  it('restricted callers look but do not change; strangers see nothing', async () => {
    await post('/1.0/networks', { name: 'br0' });
    const restricted = await makeClient('restricted');
    await trust(api.db, restricted, { restricted: true, projects: ['default'] });
    for (const path of ['/1.0/networks', '/1.0/storage-pools']) {
      expect((await api.call('GET', path, { as: restricted })).status).toBe(200);
      expect((await api.call('POST', path, { as: restricted, body: { name: 'x' } })).status).toBe(403);
      expect((await api.call('GET', path, { as: 'nobody' })).status).toBe(403);
    }
    expect((await api.call('DELETE', '/1.0/networks/br0', { as: restricted })).status).toBe(403);
  });
});
