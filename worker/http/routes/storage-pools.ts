/** `/1.0/storage-pools` (lxd-api 5.8, 12.4). */
import { StoragePoolPatch, StoragePoolPut, StoragePoolsPost } from '#protocol/api/storage-pool.ts';
import { createPool } from '#worker/services/storage-pool-create.ts';
import {
  type ApiPool,
  changePool,
  getPool,
  getPoolResources,
  getPools,
  removePool,
} from '#worker/services/storage-pools.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { storageVolumeRoutes } from './storage-volumes.ts';

const ALL = '/1.0/storage-pools';
const ONE = '/1.0/storage-pools/:pool';

const urlOf = (name: string) => `${ALL}/${encodeURIComponent(name)}`;
const tagOf = (pool: ApiPool) => etag([pool.name, pool.driver, pool.description, pool.config]);

export function storagePoolRoutes(app: App): void {
  storageVolumeRoutes(app);

  route(
    app,
    { method: 'get', path: ALL, summary: 'List the storage pools', tag: 'storage', answer: 'sync', access: 'trusted' },
    async ({ ctx, recursion }) => {
      const pools = await getPools(ctx);
      return sync(pools.map((pool) => (recursion > 0 ? pool : urlOf(pool.name))));
    },
  );

  route(
    app,
    {
      method: 'post',
      path: ALL,
      summary: 'Define a storage pool on a member, or create it on all',
      tag: 'storage',
      body: StoragePoolsPost,
      answer: 'created',
      access: 'admin',
    },
    async ({ ctx, body, target }) => {
      await createPool(ctx, body, target);
      return created(urlOf(body.name));
    },
  );

  route(
    app,
    { method: 'get', path: ONE, summary: 'Get a storage pool', tag: 'storage', answer: 'sync', access: 'trusted' },
    async ({ ctx, params, target }) => {
      const pool = await getPool(ctx, params.pool, target);
      return sync(pool, { etag: await tagOf(pool) });
    },
  );

  route(
    app,
    {
      method: 'put',
      path: ONE,
      summary: 'Replace the config of a storage pool',
      tag: 'storage',
      body: StoragePoolPut,
      answer: 'sync',
      access: 'admin',
    },
    async ({ ctx, params, target, body, ifMatch }) => {
      checkIfMatch(ifMatch, await tagOf(await getPool(ctx, params.pool, target)));
      await changePool(ctx, params.pool, { ...body, merge: false }, target);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'patch',
      path: ONE,
      summary: 'Change the config of a storage pool',
      tag: 'storage',
      body: StoragePoolPatch,
      answer: 'sync',
      access: 'admin',
    },
    async ({ ctx, params, target, body, ifMatch }) => {
      checkIfMatch(ifMatch, await tagOf(await getPool(ctx, params.pool, target)));
      await changePool(ctx, params.pool, { ...body, merge: true }, target);
      return sync();
    },
  );

  route(
    app,
    { method: 'delete', path: ONE, summary: 'Delete a storage pool', tag: 'storage', answer: 'sync', access: 'admin' },
    async ({ ctx, params }) => {
      await removePool(ctx, params.pool);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/storage-pools/:pool/resources',
      summary: 'Get how full a storage pool is',
      tag: 'storage',
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, target }) => sync(await getPoolResources(ctx, params.pool, target)),
  );
}
