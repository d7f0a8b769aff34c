/**
 * Image upload: bytes stream into the BlobStore while they are hashed; when the fingerprint is known, the image becomes a
 * `pending` row and a member is asked to read its metadata. Nothing refers to the blobs before that row does, and every
 * refusal deletes them.
 */
import { AppError, badRequest, conflict, unavailable } from '#protocol/errors.ts';
import { checkAliasName, isFingerprint } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import { FAILURE } from '#worker/domain/operation.ts';
import { type MultipartPart, multipartBoundary, readMultipart } from '#worker/lib/multipart.ts';
import { findTakenAliases, hasImageRow, insertAlias, insertImage, resolveImageProject } from '#worker/state/images.ts';
import { listMembers } from '#worker/state/members.ts';
import type { ApiOperation } from '#worker/state/operation-row.ts';
import type { ImagePart } from '#worker/state/schema.ts';
import { locationOf } from './changes.ts';
import type { Authorized } from './context.ts';
import { finishOperation, startOperation, waitOperation } from './operations.ts';

/** What a client says of the image beside its bytes. */
export interface UploadOptions {
  public: boolean;
  filename: string;
  properties: Record<string, string>;
  profiles: string[];
  aliases: string[];
  /** Empty: not declared. */
  fingerprint: string;
}

const NAME_LIMIT = 255;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The `X-LXD-*` or `X-Incus-*` headers of an upload. Throws `bad_request` for what cannot be kept. */
export function readUploadOptions(headers: Headers): UploadOptions {
  const header = (name: string) => headers.get(`x-lxd-${name}`) ?? headers.get(`x-incus-${name}`) ?? '';
  const list = (name: string, key: string) => new URLSearchParams(header(name)).getAll(key).filter((v) => v !== '');
  const filename = header('filename');
  if (filename.length > NAME_LIMIT || CONTROL.test(filename) || /[/\\]/.test(filename)) {
    throw badRequest('Invalid image file name');
  }
  if (header('type') === 'virtual-machine') throw badRequest(NO_VIRTUAL_MACHINES);
  const aliases = list('aliases', 'alias');
  const refusal = aliases.map(checkAliasName).find((text) => text !== null);
  if (refusal) throw badRequest(refusal);
  const profiles = list('profiles', 'profile');
  const properties = Object.fromEntries(new URLSearchParams(header('properties')));
  const names = [...Object.keys(properties), ...profiles];
  if (names.some((name) => name === '' || name.length > NAME_LIMIT || CONTROL.test(name))) {
    throw badRequest('Invalid image property or profile name');
  }
  return {
    public: isTrue(header('public')),
    filename,
    properties,
    profiles: profiles.length > 0 ? profiles : ['default'],
    aliases: [...new Set(aliases)],
    fingerprint: header('fingerprint').toLowerCase(),
  };
}

const NO_VIRTUAL_MACHINES = 'Virtual machine images are not supported';

/**
 * Takes an image in and answers the operation that makes it ready. A known fingerprint is the operation's failure, as in LXD.
 * Throws `bad_request` for an empty or malformed body or a wrong fingerprint, `conflict` for a taken alias, `unavailable`
 * when no member is online; then neither blob nor row is left.
 */
export async function uploadImage(
  ctx: Authorized,
  requestProject: string,
  body: ReadableStream<Uint8Array> | null,
  contentType: string,
  options: UploadOptions,
): Promise<ApiOperation> {
  const boundary = multipartBoundary(contentType);
  const project = await resolveImageProject(ctx.db, requestProject);
  // Before the bytes travel; looked at again after.
  await checkAdmission(ctx, project, options);
  if (body === null) throw badRequest(EMPTY);

  const content = newContent(ctx, ctx.newId());
  try {
    if (boundary === null) await content.store('unified', body);
    else await storeParts(content, readMultipart(body, boundary));
    const { fingerprint, parts, sizeBytes } = await content.finish();
    if (options.fingerprint !== '' && options.fingerprint !== fingerprint) {
      throw badRequest(`Fingerprints don't match, got ${fingerprint} expected ${options.fingerprint}`);
    }
    const image = { fingerprint, parts, sizeBytes };
    if (await hasImageRow(ctx.db, project, fingerprint)) return await refuseDuplicate(ctx, content, project, image);
    try {
      return await publish(ctx, project, image, options);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'conflict') throw error;
      if (await hasImageRow(ctx.db, project, fingerprint)) return await refuseDuplicate(ctx, content, project, image);
      await checkAliases(ctx, project, options.aliases);
      throw error;
    }
  } catch (error) {
    await content.drop();
    throw error;
  }
}

const EMPTY = 'The image is empty';

async function checkAdmission(ctx: Authorized, project: string, options: UploadOptions): Promise<void> {
  if (options.fingerprint !== '' && !isFingerprint(options.fingerprint)) {
    throw badRequest(`Invalid image fingerprint "${options.fingerprint}"`);
  }
  await pickInspector(ctx);
  await checkAliases(ctx, project, options.aliases);
}

async function checkAliases(ctx: Authorized, project: string, names: string[]): Promise<void> {
  const [taken] = await findTakenAliases(ctx.db, project, names);
  if (taken !== undefined) throw conflict(`Alias "${taken}" already exists`);
}

/** The online member with the least CPU load reads the metadata. */
async function pickInspector(ctx: Authorized): Promise<string> {
  const [members, presence] = await Promise.all([listMembers(ctx.db), ctx.objects.links.presence()]);
  const load = new Map(presence.map(({ member, load }) => [member, load ? load.cpuLoad / load.cpuCount : 1]));
  const [best] = members
    .filter((member) => member.online)
    .sort((a, b) => (load.get(a.name) ?? 1) - (load.get(b.name) ?? 1) || (a.name < b.name ? -1 : 1));
  if (!best) throw unavailable('No cluster member is online to read the image');
  return best.name;
}

/** LXD's form: `metadata`, then `rootfs`. */
async function storeParts(content: Content, parts: AsyncGenerator<MultipartPart>): Promise<void> {
  const expected = ['metadata', 'rootfs'] as const;
  for (const name of expected) {
    const { value: part, done } = await parts.next();
    if (done) throw badRequest(`Malformed multipart body: the part "${name}" is missing`);
    if (part.name === 'rootfs.img') throw badRequest(NO_VIRTUAL_MACHINES);
    if (part.name !== name) {
      throw badRequest(`Malformed multipart body: expected the part "${name}", got "${part.name.slice(0, 64)}"`);
    }
    await content.store(name, part.body);
  }
  const extra = await parts.next();
  if (!extra.done) throw badRequest(`Malformed multipart body: unexpected part "${extra.value.name.slice(0, 64)}"`);
}

/** A stored upload. */
export interface Stored {
  fingerprint: string;
  parts: ImagePart[];
  sizeBytes: number;
}

/** An upload on its way into the BlobStore. */
export interface Content {
  store(name: ImagePart['name'], body: ReadableStream<Uint8Array>): Promise<void>;
  finish(): Promise<Stored>;
  /** Deletes what was stored. Never throws: it runs where another error is on its way. */
  drop(): Promise<void>;
}

/** One upload's blobs, hashed together in the order they come. `store` throws `bad_request` for an empty part. */
export function newContent(ctx: Pick<Authorized, 'blobs' | 'log'>, id: string): Content {
  const digest = new crypto.DigestStream('SHA-256');
  // A digest that is never finished must not surface as an unhandled rejection.
  digest.digest.catch(() => undefined);
  const hash = digest.getWriter();
  const stored: { name: ImagePart['name']; key: string; sizeBytes: number; extension: string }[] = [];
  const keys: string[] = [];
  return {
    async store(name, body) {
      const key = `uploads/${id}-${name}`;
      keys.push(key);
      let sizeBytes = 0;
      let head = new Uint8Array();
      const tap = new TransformStream<Uint8Array, Uint8Array>({
        async transform(chunk, controller) {
          if (head.byteLength < MAGIC_BYTES) head = new Uint8Array([...head, ...chunk.subarray(0, MAGIC_BYTES)]);
          sizeBytes += chunk.byteLength;
          await hash.write(chunk);
          controller.enqueue(chunk);
        },
      });
      await ctx.blobs.put(key, body.pipeThrough(tap));
      if (sizeBytes === 0) throw badRequest(name === 'unified' ? EMPTY : `The image part "${name}" is empty`);
      stored.push({ name, key, sizeBytes, extension: extensionOf(head) });
    },
    async finish() {
      await hash.close();
      const fingerprint = toHex(new Uint8Array(await digest.digest));
      const parts = stored.map(({ extension, ...part }) => ({
        ...part,
        filename: `${part.name === 'metadata' ? 'meta-' : ''}${fingerprint}${extension}`,
      }));
      return { fingerprint, parts, sizeBytes: stored.reduce((sum, part) => sum + part.sizeBytes, 0) };
    },
    async drop() {
      await hash.abort().catch(() => undefined);
      await Promise.all(
        keys.map((key) =>
          ctx.blobs.delete(key).catch((error: unknown) => ctx.log.warn('image.upload.leftover', { key }, error)),
        ),
      );
    },
  };
}

const toHex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');

const MAGIC_BYTES = 8;
const MAGIC: [string, string][] = [
  ['fd377a585a00', '.tar.xz'],
  ['1f8b', '.tar.gz'],
  ['425a68', '.tar.bz2'],
  ['28b52ffd', '.tar.zst'],
  ['5d0000', '.tar.lzma'],
  ['68737173', '.squashfs'],
];

/** The ending that clients give the exported file, by what the content begins with. */
export function extensionOf(head: Uint8Array): string {
  const hex = toHex(head);
  return MAGIC.find(([magic]) => hex.startsWith(magic))?.[1] ?? '.tar';
}

/** Row, aliases and the inspection in one batch; a unique violation is a `conflict`. */
async function publish(ctx: Authorized, project: string, image: Stored, options: UploadOptions): Promise<ApiOperation> {
  const member = await pickInspector(ctx);
  const { fingerprint, parts, sizeBytes } = image;
  const row = {
    project,
    fingerprint,
    status: 'pending' as const,
    type: 'container' as const,
    architecture: '',
    filename: parts.length === 1 ? options.filename : '',
    sizeBytes,
    public: options.public,
    properties: options.properties,
    profiles: options.profiles,
    parts,
    createdAt: ctx.now(),
    uploadedAt: ctx.now(),
  };
  return startOperation(ctx, {
    operation: { ...operation(project, image), location: member },
    // Aliases first: one left behind by an earlier, failed upload of this very image is free until the row exists.
    writes: [
      ...options.aliases.flatMap((name) => insertAlias(ctx.db, { project, name, fingerprint, description: '' })),
      insertImage(ctx.db, row),
    ],
    commands: [
      {
        member,
        name: 'image.inspect',
        params: {
          image: {
            fingerprint,
            parts: parts.map(({ name, sizeBytes, filename }) => ({ name, sizeBytes, filename })),
          },
        },
      },
    ],
  });
}

const operation = (project: string, { fingerprint, sizeBytes }: Stored) => ({
  project,
  class: 'task' as const,
  description: 'Downloading image',
  resources: null,
  metadata: { fingerprint, size: String(sizeBytes) },
  mayCancel: false,
});

async function refuseDuplicate(
  ctx: Authorized,
  content: Content,
  project: string,
  image: Stored,
): Promise<ApiOperation> {
  await content.drop();
  const metadata = { fingerprint: image.fingerprint, size: String(image.sizeBytes) };
  const id = ctx.newId();
  await startOperation(ctx, {
    operation: { ...operation(project, image), id, location: locationOf(ctx) },
    commands: [],
  });
  await finishOperation(ctx, id, { status: FAILURE, metadata, err: 'Image with same fingerprint already exists' });
  return waitOperation(ctx, id, 0);
}
