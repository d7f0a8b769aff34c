/**
 * `/1.0/storage-pools/<pool>/volumes`: what instances and images take up, and custom volumes (lxd-api 5.8). What would copy a
 * volume is refused by name.
 */
import { z } from 'zod';
import { matchesFilter, parseFilter } from '#protocol/api/filter.ts';
import {
  StorageVolumePatch,
  StorageVolumePost,
  StorageVolumePut,
  StorageVolumesPost,
} from '#protocol/api/storage-volume.ts';
import { badRequest } from '#protocol/errors.ts';
import {
  changeVolume,
  createVolume,
  deleteVolume,
  renameVolume,
  type VolumePath,
} from '#worker/services/storage-volume-change.ts';
import {
  type ApiVolume,
  getVolume,
  getVolumeState,
  getVolumes,
  refuseBackup,
  refuseImport,
  refuseSnapshot,
  volumeUrl,
} from '#worker/services/storage-volumes.ts';
import { parseWith, readJson } from '../body.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
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

const tagOf = (volume: ApiVolume) => etag([volume.name, volume.type, volume.description, volume.config]);

interface Input {
  params: { pool: string; type: string; name: string };
  project: string;
  projects: string[] | null;
  target: string | null;
}
const pathOf = ({ params, project, target }: Input): VolumePath => ({
  ...params,
  type: checkType(params.type),
  project,
  target,
});
const scopeOf = ({ params, projects, target }: Input) => ({ projects, target, type: checkType(params.type) });

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
      lists: true,
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
      lists: true,
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

  for (const path of [ALL, OF_TYPE] as const) {
    route(
      app,
      {
        method: 'post',
        path,
        summary: 'Create a storage volume',
        tag: 'storage',
        reads: { 'application/json': StorageVolumesPost },
        answer: 'sync',
        access: 'trusted',
      },
      async ({ ctx, params, project, target, request }) => {
        // `lxc storage volume import` sends an archive instead.
        if (request.headers.get('content-type') === 'application/octet-stream') refuseImport();
        const body = parseWith(StorageVolumesPost, await readJson(request));
        const type = 'type' in params ? checkType(String(params.type)) : '';
        await createVolume(ctx, { pool: params.pool, type, project, target }, body);
        return sync();
      },
    );
  }

  oneVolumeRoutes(app);
  partRoutes(app);
}

function oneVolumeRoutes(app: App): void {
  route(
    app,
    { method: 'get', path: ONE, summary: 'Get a storage volume', tag: 'storage', answer: 'sync', access: 'trusted' },
    async (input) => {
      const volume = await getVolume(input.ctx, input.params.pool, input.params.name, scopeOf(input));
      return sync(volume, { etag: await tagOf(volume) });
    },
  );

  route(
    app,
    {
      method: 'put',
      path: ONE,
      summary: 'Replace the config of a storage volume',
      tag: 'storage',
      body: StorageVolumePut,
      answer: 'sync',
      access: 'trusted',
    },
    async (input) => {
      const { ctx, params, body, ifMatch } = input;
      checkIfMatch(ifMatch, await tagOf(await getVolume(ctx, params.pool, params.name, scopeOf(input))));
      await changeVolume(ctx, pathOf(input), { ...body, merge: false });
      return sync();
    },
  );

  route(
    app,
    {
      method: 'patch',
      path: ONE,
      summary: 'Change the config of a storage volume',
      tag: 'storage',
      body: StorageVolumePatch,
      answer: 'sync',
      access: 'trusted',
    },
    async (input) => {
      const { ctx, params, body, ifMatch } = input;
      checkIfMatch(ifMatch, await tagOf(await getVolume(ctx, params.pool, params.name, scopeOf(input))));
      await changeVolume(ctx, pathOf(input), { ...body, restore: '', merge: true });
      return sync();
    },
  );

  route(
    app,
    {
      method: 'post',
      path: ONE,
      summary: 'Rename a storage volume',
      tag: 'storage',
      body: StorageVolumePost,
      answer: 'created',
      access: 'trusted',
    },
    async (input) => {
      const { ctx, params, body } = input;
      await renameVolume(ctx, pathOf(input), body);
      return created(`/1.0/storage-pools/${encodeURIComponent(params.pool)}/volumes/custom/${body.name}`);
    },
  );

  route(
    app,
    {
      method: 'delete',
      path: ONE,
      summary: 'Delete a storage volume',
      tag: 'storage',
      answer: 'sync',
      access: 'trusted',
    },
    async (input) => {
      await deleteVolume(input.ctx, pathOf(input));
      return sync();
    },
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/storage-pools/:pool/volumes/:type/:name/state',
      summary: 'Get how much a storage volume holds',
      tag: 'storage',
      answer: 'sync',
      access: 'trusted',
    },
    async (input) => sync(await getVolumeState(input.ctx, input.params.pool, input.params.name, scopeOf(input))),
  );
}

/** Snapshots and backups: none, and none can be made. */
function partRoutes(app: App): void {
  const parts = [
    { part: 'snapshots', refuse: refuseSnapshot },
    { part: 'backups', refuse: refuseBackup },
  ] as const;
  for (const { part, refuse } of parts) {
    const path = `/1.0/storage-pools/:pool/volumes/:type/:name/${part}` as const;
    route(
      app,
      {
        method: 'get',
        path,
        summary: `List the ${part} of a storage volume`,
        tag: 'storage',
        answer: 'sync',
        access: 'trusted',
      },
      async (input) => {
        await getVolume(input.ctx, input.params.pool, input.params.name, scopeOf(input));
        return sync([]);
      },
    );
    route(
      app,
      {
        method: 'post',
        path,
        summary: `Create one of the ${part} of a storage volume (not available)`,
        tag: 'storage',
        answer: 'async',
        access: 'trusted',
      },
      () => refuse(),
    );
  }
}
