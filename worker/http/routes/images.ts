/** `/1.0/images`: listing, upload, change, removal and export (lxd-api 5.5, 7.7). */
import { z } from 'zod';
import { matchesFilter, parseFilter } from '#protocol/api/filter.ts';
import { ImagePatch, ImagePut, ImagesPost } from '#protocol/api/image.ts';
import { badRequest, notFound } from '#protocol/errors.ts';
import { readUploadOptions, uploadImage } from '#worker/services/image-upload.ts';
import {
  type ApiImage,
  changeImage,
  getImage,
  getImageContent,
  getImages,
  type ImageContent,
  removeImage,
} from '#worker/services/images.ts';
import { parseWith, readJson } from '../body.ts';
import { async_, sync } from '../envelope.ts';
import { checkIfMatch, etag } from '../etag.ts';
import { type App, route } from '../route.ts';
import { imageAliasRoutes } from './image-aliases.ts';
import { listScopeOf, viewerOf } from './image-viewer.ts';

const tagOf = (image: ApiImage) =>
  etag([image.public, image.auto_update, image.properties, image.profiles, image.expires_at]);

export function imageRoutes(app: App): void {
  // Before `:fingerprint`, which would take `aliases` for one.
  imageAliasRoutes(app);

  route(
    app,
    {
      method: 'get',
      path: '/1.0/images',
      summary: 'List the images',
      tag: 'images',
      query: z.object({ filter: z.string().optional() }),
      answer: 'sync',
      access: 'public',
    },
    async ({ ctx, query, project, projects, recursion, trusted }) => {
      const { scope, publicOnly } = listScopeOf({ ctx, project, projects, trusted });
      const filter = parseFilter(query.filter ?? '');
      const found = await getImages(ctx, scope, publicOnly);
      const matching = found.filter(({ image }) => matchesFilter(filter, image));
      return sync(matching.map(({ url, image }) => (recursion > 0 ? image : url)));
    },
  );

  route(
    app,
    {
      method: 'post',
      path: '/1.0/images',
      summary: 'Upload an image',
      tag: 'images',
      reads: {
        'application/octet-stream':
          'A unified image; headers X-LXD-public, X-LXD-filename, X-LXD-properties, X-LXD-fingerprint',
        'multipart/form-data': 'A split image: the part "metadata", then "rootfs"',
        'application/json': 'An image from another place, which is refused with the way to bring it here',
      },
      answer: 'async',
      access: 'trusted',
    },
    async ({ ctx, request, project }) => {
      const contentType = request.headers.get('content-type') ?? '';
      if (await isJson(request, contentType)) return refuseSource(request);
      const options = readUploadOptions(request.headers);
      return async_(await uploadImage(ctx, project, request.body, contentType, options));
    },
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/images/:fingerprint',
      summary: 'Get an image',
      tag: 'images',
      answer: 'sync',
      access: 'public',
    },
    async ({ ctx, params, project, trusted }) => {
      const image = await getImage(ctx, viewerOf({ ctx, project, trusted }), params.fingerprint);
      return sync(image, { etag: await tagOf(image) });
    },
  );

  route(
    app,
    {
      method: 'put',
      path: '/1.0/images/:fingerprint',
      summary: 'Replace the writable part of an image',
      tag: 'images',
      body: ImagePut,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, project, body, ifMatch }) => {
      const image = await getImage(ctx, { project, publicOnly: false }, params.fingerprint);
      checkIfMatch(ifMatch, await tagOf(image));
      await changeImage(ctx, project, image.fingerprint, {
        public: body.public,
        autoUpdate: body.auto_update,
        properties: body.properties,
        merge: false,
        profiles: body.profiles,
        expiresAt: body.expires_at,
      });
      return sync();
    },
  );

  route(
    app,
    {
      method: 'patch',
      path: '/1.0/images/:fingerprint',
      summary: 'Change an image',
      tag: 'images',
      body: ImagePatch,
      answer: 'sync',
      access: 'trusted',
    },
    async ({ ctx, params, project, body, ifMatch }) => {
      const image = await getImage(ctx, { project, publicOnly: false }, params.fingerprint);
      checkIfMatch(ifMatch, await tagOf(image));
      await changeImage(ctx, project, image.fingerprint, {
        public: body.public,
        autoUpdate: body.auto_update,
        properties: body.properties,
        merge: true,
        profiles: body.profiles,
        expiresAt: body.expires_at,
      });
      return sync();
    },
  );

  route(
    app,
    {
      method: 'delete',
      path: '/1.0/images/:fingerprint',
      summary: 'Delete an image',
      tag: 'images',
      answer: 'async',
      access: 'trusted',
    },
    async ({ ctx, params, project }) => async_(await removeImage(ctx, project, params.fingerprint)),
  );

  route(
    app,
    {
      method: 'get',
      path: '/1.0/images/:fingerprint/export',
      summary: 'Download an image',
      tag: 'images',
      answer: 'raw',
      access: 'public',
    },
    async ({ ctx, params, project, trusted }) =>
      exportAnswer(await getImageContent(ctx, viewerOf({ ctx, project, trusted }), params.fingerprint)),
  );
}

/** An upload says what it is; of any other body the first byte tells: no image begins as a JSON object does. */
async function isJson(request: Request, contentType: string): Promise<boolean> {
  if (/^\s*application\/json\b/i.test(contentType)) return true;
  if (/^\s*(application\/octet-stream|multipart\/form-data)\b/i.test(contentType) || request.body === null)
    return false;
  const reader = request.clone().body?.getReader();
  const first = await reader?.read();
  // Settles when the other half is read too, so it is not waited for.
  reader?.cancel().catch(() => undefined);
  return first?.value !== undefined && /^\s*\{/.test(new TextDecoder().decode(first.value.subarray(0, 64)));
}

/** Images from elsewhere are not taken yet; the text says which way is open. */
async function refuseSource(request: Request): Promise<never> {
  const { source } = parseWith(ImagesPost, await readJson(request));
  if (source === null) throw badRequest('The source field is required');
  const kind = source.type === 'image' ? `${source.protocol || source.mode || 'remote'} server` : source.type;
  throw badRequest(
    `Creating an image from source "${kind}" is not supported: export it there and use "lxc image import" here`,
  );
}

/** One body, or LXD's form of two. The file name is what clients name their file by. */
async function exportAnswer({ parts }: ImageContent): Promise<Response> {
  const [only, ...more] = parts;
  if (!only) throw notFound('Image content');
  if (more.length === 0) {
    return new Response(await only.open(), {
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(only.sizeBytes),
        'content-disposition': `inline;filename=${only.filename}`,
      },
    });
  }
  const boundary = crypto.randomUUID().replaceAll('-', '');
  const first = await only.open();
  return new Response(formStream(boundary, parts, first), {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  });
}

/** `first` is open already, so that missing content is a 404 and no broken body. */
function formStream(
  boundary: string,
  parts: ImageContent['parts'],
  first: ReadableStream<Uint8Array>,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  async function* write() {
    for (const [index, part] of parts.entries()) {
      const disposition = `form-data; name="${part.name}"; filename="${part.filename}"`;
      yield encoder.encode(
        `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Disposition: ${disposition}\r\nContent-Type: application/octet-stream\r\n\r\n`,
      );
      yield* index === 0 ? first : await part.open();
    }
    yield encoder.encode(`\r\n--${boundary}--\r\n`);
  }
  const chunks = write();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await chunks.return();
    },
  });
}
