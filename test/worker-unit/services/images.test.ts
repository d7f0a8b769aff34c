import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { failed } from '#protocol/errors.ts';
import {
  changeAlias,
  createAlias,
  getAlias,
  getAliases,
  removeAlias,
  renameAlias,
} from '#worker/services/image-aliases.ts';
import { openImagePart } from '#worker/services/image-content.ts';
import { readUploadOptions, uploadImage } from '#worker/services/image-upload.ts';
import { changeImage, getImage, getImageContent, getImages, removeImage } from '#worker/services/images.ts';
import { findImage, findImageByAlias } from '#worker/state/images.ts';
import { getOperation } from '#worker/state/operations.ts';
import { imageAliases, images, projects } from '#worker/state/schema.ts';
import { openWorld, refusalOf, streamOf, type World } from './resource-world.ts';

/** workerd's digest stream, by Node's hash: the one thing of the runtime that these services need. */
class NodeDigestStream extends WritableStream<Uint8Array> {
  readonly digest: Promise<ArrayBuffer>;
  constructor() {
    const hash = createHash('sha256');
    const { promise, resolve, reject } = withResolvers<ArrayBuffer>();
    super({
      write: (chunk) => void hash.update(chunk),
      close: () => resolve(new Uint8Array(hash.digest()).buffer),
      abort: (reason) => reject(reason),
    });
    this.digest = promise;
  }
}

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

let world: World;
beforeEach(async () => {
  Object.defineProperty(crypto, 'DigestStream', { value: NodeDigestStream, configurable: true });
  world = await openWorld();
});
afterEach(() => Reflect.deleteProperty(crypto, 'DigestStream'));

const XZ = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const SQUASHFS = [0x68, 0x73, 0x71, 0x73];
const content = (magic: number[], size: number, fill = 7) => {
  const bytes = new Uint8Array(size).fill(fill);
  bytes.set(magic);
  return bytes;
};
const sha256 = (...parts: Uint8Array[]) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};
const UNIFIED = content(XZ, 5000);
const FINGERPRINT = sha256(UNIFIED);

const upload = (
  body: Uint8Array | null = UNIFIED,
  headers: Record<string, string> = {},
  contentType = 'application/octet-stream',
  project = 'default',
) => uploadImage(world.ctx, project, body && streamOf(body), contentType, readUploadOptions(new Headers(headers)));

const BOUNDARY = 'xyz';
const FORM = `multipart/form-data; boundary=${BOUNDARY}`;
function form(parts: [string, Uint8Array][]): Uint8Array {
  const text = (value: string) => new TextEncoder().encode(value);
  return Buffer.concat([
    ...parts.flatMap(([name, bytes]) => [
      text(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"; filename="f"\r\n\r\n`),
      bytes,
      text('\r\n'),
    ]),
    text(`--${BOUNDARY}--\r\n`),
  ]);
}

const nothingLeft = async () => {
  expect([...world.blobs.keys()]).toEqual([]);
  expect(await world.db.select().from(images)).toEqual([]);
};
const own = { project: 'default', publicOnly: false };
const untrusted = { project: 'default', publicOnly: true };

describe('upload', () => {
  it('of a unified image ends with a ready image that says what its metadata says', async () => {
    const operation = await upload(UNIFIED, {
      'X-LXD-filename': 'unified.tar.xz',
      'X-LXD-public': 'true',
      'X-LXD-properties': 'description=Mine&k=v%20w',
      'X-LXD-aliases': 'alias=bb&alias=debian%2F12',
    });
    expect(operation).toMatchObject({
      class: 'task',
      description: 'Downloading image',
      resources: null,
      metadata: { fingerprint: FINGERPRINT, size: '5000' },
    });
    expect(await getOperation(world.db, operation.id)).toMatchObject({ status: 200 });
    expect(await getImage(world.ctx, own, FINGERPRINT.slice(0, 12))).toMatchObject({
      fingerprint: FINGERPRINT,
      filename: 'unified.tar.xz',
      public: true,
      size: 5000,
      type: 'container',
      architecture: 'x86_64',
      properties: { os: 'Busybox', description: 'Mine', k: 'v w' },
      profiles: ['default'],
      aliases: [
        { name: 'bb', description: '' },
        { name: 'debian/12', description: '' },
      ],
      created_at: '2023-11-14T22:13:20Z',
      expires_at: '1970-01-01T00:00:00Z',
      last_used_at: '0001-01-01T00:00:00Z',
    });
    expect(world.actions()).toEqual(['image-created']);
  });

  it('of a split image hashes metadata and rootfs together, by either header family', async () => {
    const [meta, root] = [content(XZ, 300), content(SQUASHFS, 40_000)];
    await upload(
      form([
        ['metadata', meta],
        ['rootfs', root],
      ]),
      { 'X-Incus-Filename': 'meta.tar.xz' },
      FORM,
    );
    const fingerprint = sha256(meta, root);
    const { parts } = await getImageContent(world.ctx, own, fingerprint);
    expect(parts.map(({ name, filename, sizeBytes }) => ({ name, filename, sizeBytes }))).toEqual([
      { name: 'metadata', filename: `meta-${fingerprint}.tar.xz`, sizeBytes: 300 },
      { name: 'rootfs', filename: `${fingerprint}.squashfs`, sizeBytes: 40_000 },
    ]);
    const part = await openImagePart(world.ctx, fingerprint, 'rootfs');
    expect(sha256(new Uint8Array(await new Response(part.body).arrayBuffer()))).toBe(sha256(root));
    expect((await refusalOf(openImagePart(world.ctx, fingerprint, 'unified'))).code).toBe('not_found');
    expect((await getImage(world.ctx, own, fingerprint)).filename).toBe('');
  });

  it('of a known image is an operation that failed, and leaves the first one alone', async () => {
    await upload();
    const before = [...world.blobs.keys()];
    const operation = await upload();
    expect(operation).toMatchObject({
      status_code: 400,
      err: 'Image with same fingerprint already exists',
      metadata: { fingerprint: FINGERPRINT, size: '5000' },
    });
    expect([...world.blobs.keys()]).toEqual(before);
  });

  it('of the same image twice at once keeps one', async () => {
    const operations = await Promise.all([upload(), upload()]);
    const statuses = [];
    for (const { id } of operations) statuses.push((await getOperation(world.db, id)).status);
    expect(statuses.sort()).toEqual([200, 400]);
    expect(world.blobs.size).toBe(1);
    expect(await world.db.select().from(images)).toHaveLength(1);
  });

  it('whose inspection fails leaves nothing, and its aliases are free', async () => {
    const { agent } = world;
    world.agent = () => {
      throw failed('Could not find "metadata.yaml"');
    };
    const operation = await upload(UNIFIED, { 'X-LXD-aliases': 'alias=bb' });
    expect(await getOperation(world.db, operation.id)).toMatchObject({
      status: 400,
      err: 'Could not find "metadata.yaml"',
    });
    await nothingLeft();
    world.agent = agent;
    await upload(UNIFIED, { 'X-LXD-aliases': 'alias=bb' });
    expect((await findImageByAlias(world.db, 'default', 'bb'))?.fingerprint).toBe(FINGERPRINT);
  });

  it.each([
    ['no body', null, {}, undefined, 'The image is empty'],
    ['an empty body', new Uint8Array(), {}, undefined, 'The image is empty'],
    [
      'another fingerprint',
      UNIFIED,
      { 'X-LXD-fingerprint': 'a'.repeat(64) },
      undefined,
      `Fingerprints don't match, got ${FINGERPRINT} expected ${'a'.repeat(64)}`,
    ],
    [
      'a fingerprint that is none',
      UNIFIED,
      { 'X-LXD-fingerprint': 'abc' },
      undefined,
      'Invalid image fingerprint "abc"',
    ],
    [
      'a form without rootfs',
      form([['metadata', UNIFIED]]),
      {},
      FORM,
      'Malformed multipart body: the part "rootfs" is missing',
    ],
    [
      'a form in the wrong order',
      form([
        ['rootfs', UNIFIED],
        ['metadata', UNIFIED],
      ]),
      {},
      FORM,
      'Malformed multipart body: expected the part "metadata", got "rootfs"',
    ],
    [
      'a form with an empty part',
      form([
        ['metadata', UNIFIED],
        ['rootfs', new Uint8Array()],
      ]),
      {},
      FORM,
      'The image part "rootfs" is empty',
    ],
    [
      'a form with a third part',
      form([
        ['metadata', UNIFIED],
        ['rootfs', UNIFIED],
        ['x', UNIFIED],
      ]),
      {},
      FORM,
      'Malformed multipart body: unexpected part "x"',
    ],
    [
      'a form of a virtual machine',
      form([
        ['metadata', UNIFIED],
        ['rootfs.img', UNIFIED],
      ]),
      {},
      FORM,
      'Virtual machine images are not supported',
    ],
    [
      'a form that ends early',
      form([
        ['metadata', UNIFIED],
        ['rootfs', UNIFIED],
      ]).slice(0, 9000),
      {},
      FORM,
      'Malformed multipart body: it ends before its last boundary',
    ],
  ] as [string, Uint8Array | null, Record<string, string>, string | undefined, string][])(
    'refuses %s and leaves nothing',
    async (_, body, headers, type, message) => {
      expect(await refusalOf(upload(body, headers, type))).toEqual({ code: 'bad_request', message });
      await nothingLeft();
    },
  );

  it.each([
    [{ 'X-LXD-filename': 'x'.repeat(256) }, 'Invalid image file name'],
    [{ 'X-LXD-filename': '../evil' }, 'Invalid image file name'],
    [{ 'X-LXD-type': 'virtual-machine' }, 'Virtual machine images are not supported'],
    [{ 'X-LXD-aliases': `alias=${'x'.repeat(256)}` }, 'Alias names may not contain control characters'],
    [{ 'X-LXD-properties': `${'k'.repeat(256)}=v` }, 'Invalid image property or profile name'],
  ])('refuses the headers %j', (headers, message) => {
    expect(() => readUploadOptions(new Headers(headers))).toThrow(message);
  });

  it('with nobody online is refused before and after the bytes, and leaves nothing', async () => {
    await world.setOnline('node1', false);
    await world.setOnline('node2', false);
    expect((await refusalOf(upload())).code).toBe('unavailable');
    await nothingLeft();
  });

  it('with a taken alias is refused', async () => {
    await upload(UNIFIED, { 'X-LXD-aliases': 'alias=bb' });
    expect(await refusalOf(upload(content(XZ, 20), { 'X-LXD-aliases': 'alias=bb' }))).toEqual({
      code: 'conflict',
      message: 'Alias "bb" already exists',
    });
    expect(world.blobs.size).toBe(1);
  });

  it('that breaks off leaves nothing', async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1;
        if (sent < 4) controller.enqueue(content([], 100));
        else controller.error(new Error('connection lost'));
      },
    });
    const options = readUploadOptions(new Headers());
    await expect(uploadImage(world.ctx, 'default', body, '', options)).rejects.toThrow();
    await nothingLeft();
  });
});

describe('images', () => {
  beforeEach(() => upload(UNIFIED, { 'X-LXD-aliases': 'alias=bb' }).then(() => {}));

  it('are listed with URL and aliases; untrusted callers see public ones', async () => {
    expect((await getImages(world.ctx, ['default'], false)).map(({ url, image }) => [url, image.aliases])).toEqual([
      [`/1.0/images/${FINGERPRINT}`, [{ name: 'bb', description: '' }]],
    ]);
    expect(await getImages(world.ctx, ['default'], true)).toEqual([]);
    expect((await refusalOf(getImage(world.ctx, untrusted, FINGERPRINT))).message).toBe('Image not found');
    expect((await refusalOf(getImageContent(world.ctx, untrusted, FINGERPRINT))).message).toBe('Image not found');
    expect(await getAliases(world.ctx, untrusted)).toEqual([]);
  });

  it('are the default project’s for a project without the feature, and its own otherwise', async () => {
    await world.db.insert(projects).values([
      { name: 'shared', config: { 'features.images': 'false' } },
      { name: 'own', config: { 'features.images': 'true' } },
    ]);
    expect((await findImage(world.db, 'shared', FINGERPRINT))?.project).toBe('default');
    expect((await findImageByAlias(world.db, 'shared', 'bb'))?.project).toBe('default');
    expect(await findImage(world.db, 'own', FINGERPRINT)).toBeUndefined();
    await upload(UNIFIED, {}, undefined, 'own');
    expect((await findImage(world.db, 'own', FINGERPRINT))?.project).toBe('own');
    expect((await getImages(world.ctx, null, false)).map(({ url }) => url)).toEqual([
      `/1.0/images/${FINGERPRINT}`,
      `/1.0/images/${FINGERPRINT}?project=own`,
    ]);
  });

  it('are not found by a beginning that fits two', async () => {
    const { parts: _, ...row } = await firstRow();
    await world.db
      .insert(images)
      .values({ ...row, fingerprint: `${FINGERPRINT.slice(0, 20)}${'0'.repeat(44)}`, parts: [] });
    expect((await refusalOf(getImage(world.ctx, own, FINGERPRINT.slice(0, 12)))).code).toBe('bad_request');
    expect((await getImage(world.ctx, own, FINGERPRINT)).fingerprint).toBe(FINGERPRINT);
    expect((await refusalOf(getImage(world.ctx, own, '%'))).message).toBe('Image not found');
  });

  it('change: a PUT replaces, a PATCH merges, an empty property goes', async () => {
    const change = {
      public: true,
      autoUpdate: undefined,
      properties: { a: 'b', c: '' },
      merge: false,
      profiles: [],
      expiresAt: '',
    };
    await changeImage(world.ctx, 'default', FINGERPRINT, change);
    expect(await getImage(world.ctx, untrusted, FINGERPRINT)).toMatchObject({ properties: { a: 'b' }, profiles: [] });
    await changeImage(world.ctx, 'default', FINGERPRINT, {
      ...change,
      public: undefined,
      properties: { d: 'e' },
      merge: true,
      profiles: undefined,
      expiresAt: '2030-01-01T00:00:00Z',
    });
    expect(await getImage(world.ctx, untrusted, FINGERPRINT)).toMatchObject({
      public: true,
      properties: { a: 'b', d: 'e' },
      expires_at: '2030-01-01T00:00:00.000Z',
    });
    expect(world.actions().filter((action) => action === 'image-updated')).toHaveLength(2);
  });

  it('go with aliases and blobs at once; absent members drop their copies later', async () => {
    await world.setOnline('node2', false);
    world.ran.length = 0;
    const operation = await removeImage(world.ctx, 'default', FINGERPRINT);
    expect(operation).toMatchObject({
      description: 'Deleting image',
      resources: { images: [`/1.0/images/${FINGERPRINT}`] },
    });
    await nothingLeft();
    expect(await world.db.select().from(imageAliases)).toEqual([]);
    expect(world.ran.map(({ member }) => member)).toEqual(['node1']);
    expect((await getOperation(world.db, operation.id)).status).toBe(200);
    await world.setOnline('node2', true);
    expect(world.ran.map(({ member, command }) => [member, command.name])).toEqual([
      ['node1', 'image.delete'],
      ['node2', 'image.delete'],
    ]);
    expect(world.actions()).toContain('image-deleted');
    expect((await refusalOf(removeImage(world.ctx, 'default', FINGERPRINT))).message).toBe('Image not found');
  });

  it('go without a word to the members while another project has the same one', async () => {
    await world.db.insert(projects).values({ name: 'own', config: { 'features.images': 'true' } });
    await upload(UNIFIED, {}, undefined, 'own');
    world.ran.length = 0;
    const operation = await removeImage(world.ctx, 'own', FINGERPRINT);
    expect((await getOperation(world.db, operation.id)).status).toBe(200);
    expect(world.ran).toEqual([]);
    expect(world.blobs.size).toBe(1);
  });

  const firstRow = async () => {
    const [row] = await world.db.select().from(images);
    if (!row) throw new Error('no image');
    return row;
  };
});

describe('aliases', () => {
  beforeEach(() => upload().then(() => {}));
  const create = (name: string, target = FINGERPRINT.slice(0, 12)) =>
    createAlias(world.ctx, 'default', { name, target, description: 'd' });

  it('may hold slashes, and name an image by a beginning of its fingerprint', async () => {
    await create('debian/12');
    expect(await getAlias(world.ctx, own, 'debian/12')).toEqual({
      name: 'debian/12',
      description: 'd',
      target: FINGERPRINT,
      type: 'container',
    });
    expect((await getAliases(world.ctx, own)).map(({ url }) => url)).toEqual(['/1.0/images/aliases/debian%2F12']);
  });

  it('are unique, also when two are made at once', async () => {
    await create('bb');
    const taken = { code: 'conflict', message: 'Alias "bb" already exists' };
    expect(await refusalOf(create('bb'))).toEqual(taken);
    const results = await Promise.allSettled([create('cc'), create('cc')]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(await refusalOf(renameAlias(world.ctx, 'default', 'cc', 'bb'))).toEqual(taken);
  });

  it('are renamed, changed and removed', async () => {
    await create('bb');
    await renameAlias(world.ctx, 'default', 'bb', 'b/b');
    await changeAlias(world.ctx, 'default', 'b/b', { description: 'new', target: undefined });
    expect(await getAlias(world.ctx, own, 'b/b')).toMatchObject({ description: 'new', target: FINGERPRINT });
    await removeAlias(world.ctx, 'default', 'b/b');
    expect((await refusalOf(getAlias(world.ctx, own, 'b/b'))).message).toBe('Image alias not found');
    expect(world.actions().slice(-4)).toEqual([
      'image-alias-created',
      'image-alias-renamed',
      'image-alias-updated',
      'image-alias-deleted',
    ]);
  });

  it.each([
    ['', FINGERPRINT, 'Alias name is empty'],
    ['x', 'ffffffff', 'Image not found'],
    ['x', '', 'Image not found'],
  ])('%s of %s are refused', async (name, target, message) => {
    expect((await refusalOf(create(name, target))).message).toBe(message);
  });
});
