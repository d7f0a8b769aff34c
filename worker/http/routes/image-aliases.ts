/** `/1.0/images/aliases`: names may hold slashes, percent-encoded or not (lxd-api 5.5). */
import { ImageAliasesPost, ImageAliasPatch, ImageAliasPost, ImageAliasPut } from '#protocol/api/image.ts';
import {
  type ApiAlias,
  changeAlias,
  createAlias,
  getAlias,
  getAliases,
  removeAlias,
  renameAlias,
} from '#worker/services/image-aliases.ts';
import { created, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { viewerOf } from './image-viewer.ts';

const ONE = '/1.0/images/aliases/:name{.+}';

const tagOf = (alias: ApiAlias) => etag([alias.name, alias.description, alias.target]);

const locationOf = (name: string) => `/1.0/images/aliases/${encodeURIComponent(name)}`;

export function imageAliasRoutes(app: App): void {
  route(
    app,
    {
      method: 'get',
      path: '/1.0/images/aliases',
      summary: 'List the image aliases',
      tag: 'images',
      answer: 'sync',
      access: 'public',
    },
    async ({ ctx, project, recursion, trusted }) => {
      const found = await getAliases(ctx, viewerOf({ ctx, project, trusted }));
      return sync(found.map(({ url, alias }) => (recursion > 0 ? alias : url)));
    },
  );

  route(
    app,
    {
      method: 'post',
      path: '/1.0/images/aliases',
      summary: 'Create an image alias',
      tag: 'images',
      body: ImageAliasesPost,
      answer: 'created',
      access: 'trusted',
    },
    async ({ ctx, project, body }) => {
      await createAlias(ctx, project, body);
      return created(locationOf(body.name));
    },
  );

  route(
    app,
    { method: 'get', path: ONE, summary: 'Get an image alias', tag: 'images', answer: 'sync', access: 'public' },
    async ({ ctx, params, project, trusted }) => {
      const alias = await getAlias(ctx, viewerOf({ ctx, project, trusted }), params.name);
      return sync(alias, { etag: await tagOf(alias) });
    },
  );

  route(
    app,
    {
      method: 'put',
      path: ONE,
      summary: 'Replace an image alias',
      tag: 'images',
      body: ImageAliasPut,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, project, body, ifMatch }) => {
      checkIfMatch(ifMatch, await tagOf(await getAlias(ctx, { project, publicOnly: false }, params.name)));
      await changeAlias(ctx, project, params.name, body);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'patch',
      path: ONE,
      summary: 'Change an image alias',
      tag: 'images',
      body: ImageAliasPatch,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, project, body, ifMatch }) => {
      checkIfMatch(ifMatch, await tagOf(await getAlias(ctx, { project, publicOnly: false }, params.name)));
      await changeAlias(ctx, project, params.name, body);
      return sync();
    },
  );

  route(
    app,
    {
      method: 'post',
      path: ONE,
      summary: 'Rename an image alias',
      tag: 'images',
      body: ImageAliasPost,
      answer: 'created',
      access: 'trusted',
    },
    async ({ ctx, params, project, body }) => {
      await renameAlias(ctx, project, params.name, body.name);
      return created(locationOf(body.name));
    },
  );

  route(
    app,
    { method: 'delete', path: ONE, summary: 'Delete an image alias', tag: 'images', answer: 'sync', access: 'trusted' },
    async ({ ctx, params, project }) => {
      await removeAlias(ctx, project, params.name);
      return sync();
    },
  );
}
