import { expect, it } from 'vitest';
import { networkRoutes } from '#worker/http/routes/networks.ts';
import { networks } from '#worker/state/schema.ts';
import { openApi } from './api.ts';

it('lends the cluster’s networks to projects without networks of their own, and to no other', async () => {
  const api = await openApi(networkRoutes);
  await api.db.insert(networks).values({ name: 'br1', type: 'bridge', config: {}, status: 'Created' });
  const features = { borrowing: 'false', owning: 'true' };
  for (const [name, own] of Object.entries(features))
    await api.call('POST', '/1.0/projects', { body: { name, config: { 'features.networks': own } } });
  const call = async (method: string, path: string, body?: unknown) => (await api.call(method, path, { body })).body;
  for (const project of ['default', 'borrowing']) {
    expect((await call('GET', `/1.0/networks?project=${project}`)).metadata).toEqual(['/1.0/networks/br1']);
    expect((await call('GET', `/1.0/networks/br1?project=${project}`)).metadata.name).toBe('br1');
  }
  const at = '?project=owning';
  expect((await call('GET', `/1.0/networks${at}`)).metadata).toEqual([]);
  for (const path of ['br1', 'br1/state', 'br1/leases'])
    expect(await call('GET', `/1.0/networks/${path}${at}`)).toMatchObject({
      error_code: 404,
      error: 'Network not found',
    });
  for (const [method, body] of [
    ['PUT', { config: {} }],
    ['PATCH', { config: {} }],
    ['POST', { name: 'br2' }],
    ['DELETE', undefined],
  ] as const) {
    expect(await call(method, `/1.0/networks/br1${at}`, body)).toMatchObject({ error_code: 404 });
  }
  expect(await call('POST', `/1.0/networks${at}`, { name: 'br2' })).toMatchObject({
    error_code: 400,
    error: 'Network type does not support non-default projects',
  });
  expect(await api.db.select().from(networks)).toHaveLength(1);
});
