import { beforeEach, describe, expect, it } from 'vitest';
import type { App } from '#worker/http/route.ts';
import { imageRoutes } from '#worker/http/routes/images.ts';
import { readMultipart } from '#worker/lib/multipart.ts';
import { images } from '#worker/state/schema.ts';
import { memoryBlobs } from '../../services/resource-world.ts';
import { type Api, makeClient, openApi, trust } from '../api.ts';

const UNIFIED = 'a'.repeat(64);
const SPLIT = 'b'.repeat(64);
const bytes = (text: string) => new TextEncoder().encode(text);

let api: Api;
let app: App;
beforeEach(async () => {
  api = await openApi((base) => {
    app = base;
    imageRoutes(base);
  });
  const blobs = new Map([
    ['u', bytes('unified')],
    ['m', bytes('meta\r\n--')],
    ['r', bytes('root')],
  ]);
  api.ctx.blobs = memoryBlobs(blobs);
  const row = {
    project: 'default',
    status: 'ready' as const,
    type: 'container' as const,
    architecture: 'x86_64',
    filename: '',
    sizeBytes: 7,
    properties: { os: 'Busybox' },
    profiles: ['default'],
    createdAt: '2023-11-14T22:13:20Z',
    uploadedAt: '2026-11-21T02:46:04Z',
  };
  await api.db.insert(images).values([
    {
      ...row,
      fingerprint: UNIFIED,
      parts: [{ name: 'unified', key: 'u', sizeBytes: 7, filename: `${UNIFIED}.tar.xz` }],
    },
    {
      ...row,
      fingerprint: SPLIT,
      public: true,
      properties: { os: 'Debian' },
      parts: [
        { name: 'metadata', key: 'm', sizeBytes: 8, filename: `meta-${SPLIT}.tar.xz` },
        { name: 'rootfs', key: 'r', sizeBytes: 4, filename: `${SPLIT}.squashfs` },
      ],
    },
  ]);
});

const raw = (path: string) => app.fetch(new Request(`https://server${path}`));

describe('aliases over HTTP', () => {
  it('are listed at a path that is no fingerprint, and may hold slashes either way', async () => {
    expect((await api.call('GET', '/1.0/images/aliases')).body.metadata).toEqual([]);
    const made = await api.call('POST', '/1.0/images/aliases', {
      body: { name: 'debian/12', target: SPLIT, type: '' },
    });
    expect(made).toMatchObject({ status: 201, body: { metadata: null } });
    expect(made.headers.get('location')).toBe('/1.0/images/aliases/debian%2F12');
    for (const path of ['debian/12', 'debian%2F12']) {
      const got = await api.call('GET', `/1.0/images/aliases/${path}`);
      expect(got.body.metadata).toMatchObject({ name: 'debian/12', target: SPLIT, type: 'container' });
      expect(got.headers.get('etag')).toMatch(/^"[0-9a-f]{64}"$/);
    }
    expect((await api.call('POST', '/1.0/images/aliases/debian/12', { body: { name: 'd/export' } })).status).toBe(201);
    expect((await api.call('GET', '/1.0/images/aliases/d/export')).body.metadata.name).toBe('d/export');
    expect((await api.call('DELETE', '/1.0/images/aliases/d%2Fexport')).status).toBe(200);
    expect(await api.call('GET', '/1.0/images/aliases/d/export')).toMatchObject({
      status: 404,
      body: { error: 'Image alias not found' },
    });
  });

  it('that are taken are 409', async () => {
    const body = { name: 'bb', target: SPLIT };
    await api.call('POST', '/1.0/images/aliases', { body });
    expect(await api.call('POST', '/1.0/images/aliases', { body })).toMatchObject({
      status: 409,
      body: { error: 'Alias "bb" already exists' },
    });
  });
});

describe('images over HTTP', () => {
  it('show untrusted callers the public ones only', async () => {
    const list = async (options: Parameters<Api['call']>[2], path = '/1.0/images') =>
      (await api.call('GET', path, options)).body.metadata;
    const both = [`/1.0/images/${UNIFIED}`, `/1.0/images/${SPLIT}`];
    expect(await list({})).toEqual(both);
    expect(await list({}, '/1.0/images?public')).toEqual(both.slice(1));
    expect(await list({ as: 'nobody' })).toEqual(both.slice(1));
    expect(await list({ as: 'nobody' }, '/1.0/images?all-projects=true')).toEqual(both.slice(1));
    expect((await api.call('GET', `/1.0/images/${UNIFIED}`, { as: 'nobody' })).status).toBe(404);
    expect((await api.call('DELETE', `/1.0/images/${SPLIT}`, { as: 'nobody' })).status).toBe(403);
    const restricted = await makeClient('other');
    await trust(api.db, restricted, { restricted: true, projects: ['other'] });
    expect(await list({ as: restricted })).toEqual(both.slice(1));
    expect((await api.call('GET', `/1.0/images/${UNIFIED}`, { as: restricted })).status).toBe(404);
  });

  it('are filtered, also by an empty filter', async () => {
    const count = async (filter: string) =>
      (await api.call('GET', `/1.0/images?recursion=1&filter=${encodeURIComponent(filter)}`)).body.metadata.length;
    expect([await count(''), await count('properties.os eq debian'), await count('public eq false')]).toEqual([
      2, 1, 1,
    ]);
  });

  it('refuse a PUT with a stale ETag and take one with the current', async () => {
    const path = `/1.0/images/${SPLIT.slice(0, 8)}`;
    const tag = (await api.call('GET', path)).headers.get('etag') ?? '';
    const put = (etag: string) =>
      api.call('PUT', path, { body: { public: true, properties: { a: 1 } }, headers: { 'if-match': `W/${etag}` } });
    expect((await put(tag)).status).toBe(200);
    expect((await put(tag)).status).toBe(412);
    expect((await api.call('GET', path)).body.metadata.properties).toEqual({ a: '1' });
  });

  it('export a unified image as one body with its file name', async () => {
    await api.db.update(images).set({ public: true });
    const answer = await raw(`/1.0/images/${UNIFIED.slice(0, 12)}/export`);
    expect(answer.headers.get('content-disposition')).toBe(`inline;filename=${UNIFIED}.tar.xz`);
    expect(await answer.text()).toBe('unified');
  });

  it('export a split image as a form of two parts, and nothing that is not public', async () => {
    const answer = await raw(`/1.0/images/${SPLIT}/export`);
    const boundary = /boundary=(\w+)$/.exec(answer.headers.get('content-type') ?? '')?.[1] ?? '';
    const parts: string[][] = [];
    if (answer.body === null) throw new Error('no body');
    for await (const part of readMultipart(answer.body, boundary)) {
      parts.push([part.name, part.filename, await new Response(part.body).text()]);
    }
    expect(parts).toEqual([
      ['metadata', `meta-${SPLIT}.tar.xz`, 'meta\r\n--'],
      ['rootfs', `${SPLIT}.squashfs`, 'root'],
    ]);
    expect((await raw(`/1.0/images/${UNIFIED}/export`)).status).toBe(404);
  });

  it.each([
    [
      'application/json',
      { source: { type: 'image', protocol: 'simplestreams' } },
      /source "simplestreams server" is not supported/,
    ],
    [
      'application/x-www-form-urlencoded',
      { source: { type: 'instance', name: 'c1' } },
      /source "instance" is not supported/,
    ],
    ['application/json', {}, /source field is required/],
  ])('refuse other sources in JSON sent as %s', async (type, body, text) => {
    const answer = await api.call('POST', '/1.0/images', { body, headers: { 'content-type': type } });
    expect(answer.status).toBe(400);
    expect(answer.body.error).toMatch(text);
  });
});
