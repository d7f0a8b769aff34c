/** `/1.0/storage-pools/<pool>/volumes`: what instances and images take up; no custom volumes yet (lxd-api 5.8). */
import { z } from 'zod';
import { badRequest } from '#protocol/errors.ts';
import { matchesFilter, parseFilter } from '#worker/domain/filter.ts';
import {
  type ApiVolume,
  getVolume,
  getVolumes,
  refuseCustomVolumes,
  volumeUrl,
} from '#worker/services/storage-volumes.ts';
import { sync } from '../envelope.ts';
import { etag } from '../etag.ts';
import { type App, route } from '../route.ts';

const ALL = '/1.0/storage-pools/:pool/volumes';
const OF_TYPE = '/1.0/storage-pools/:pool/volumes/:type';
const ONE = '/1.0/storage-pools/:pool/volumes/:type/:name';

const TYPES = ['container', 'virtual-machine', 'image', 'custom'];

const Query = z.object({ filter: z.string().optional() });

function checkType(type: string): string {
  if (!TYPES.includes(type)) throw badRequest(`Invalid storage volume type "${type}"`);
  return type;
}

function answer(pool: string, volumes: ApiVolume[], filter: string | undefined, recursion: number): Response {
  const parsed = parseFilter(filter ?? '');
  const matching = volumes.filter((volume) => matchesFilter(parsed, volume));
  return sync(matching.map((volume) => (recursion > 0 ? volume : volumeUrl(pool, volume))));
}

export function storageVolumeRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: ALL,
      summary: 'List the storage volumes',
      tag: 'storage',
      query: Query,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, projects, target, query, recursion }) =>
      answer(
        params.pool,
        await getVolumes(ctx, params.pool, { projects, target, type: null }),
        query.filter,
        recursion,
      ),
  );

  route(
    app,
    {
      method: 'get',
      path: OF_TYPE,
      summary: 'List the storage volumes of a type',
      tag: 'storage',
      query: Query,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, projects, target, query, recursion }) => {
      const type = checkType(params.type);
      return answer(
        params.pool,
        await getVolumes(ctx, params.pool, { projects, target, type }),
        query.filter,
        recursion,
      );
    },
  );

  route(
    app,
    { method: 'get', path: ONE, summary: 'Get a storage volume', tag: 'storage', answer: 'sync', access: 'trusted' },
    async ({ ctx, params, projects, target }) => {
      const type = checkType(params.type);
      const volume = await getVolume(ctx, params.pool, params.name, { projects, target, type });
      return sync(volume, { etag: await etag([volume.name, volume.type, volume.config]) });
    },
  );

  for (const path of [ALL, OF_TYPE] as const) {
    route(
      app,
      {
        method: 'post',
        path,
        summary: 'Create a storage volume (not available)',
        tag: 'storage',
        answer: 'created',
        access: 'trusted',
      },
      () => refuseCustomVolumes(),
    );
  }
}
