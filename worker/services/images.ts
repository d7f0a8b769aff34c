/** Images: listing, changing, removing and handing out their content. How they come in is in `image-upload.ts`. */
import { badRequest, notFound } from '#protocol/errors.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import {
  deleteImage,
  findImage,
  type ImageAliasRow,
  type ImageRow,
  isImageShared,
  listAliasesOf,
  listImages,
  updateImage,
} from '#worker/state/images.ts';
import { listMembers } from '#worker/state/members.ts';
import type { ApiOperation } from '#worker/state/operation-row.ts';
import type { ImagePart } from '#worker/state/schema.ts';
import { lifecycle, locationOf, makeChange, requestorOf } from './changes.ts';
import type { Authorized } from './context.ts';
import { byPresence, resourceUrl, withoutEmpty } from './member-work.ts';
import { startOperation } from './operations.ts';

const UNSET = '0001-01-01T00:00:00Z';
const NEVER_EXPIRES = '1970-01-01T00:00:00Z';

export const imageUrl = (image: Pick<ImageRow, 'project' | 'fingerprint'>) =>
  resourceUrl('images', image.fingerprint, image.project);

/** LXD's image object (lxd-api 10.4). */
export const imageToApi = (row: ImageRow, aliases: readonly ImageAliasRow[]) => ({
  auto_update: row.autoUpdate,
  properties: row.properties,
  public: row.public,
  expires_at: row.expiresAt ?? NEVER_EXPIRES,
  profiles: row.profiles,
  aliases: aliases.map(({ name, description }) => ({ name, description })),
  architecture: row.architecture,
  cached: row.cached,
  filename: row.filename,
  fingerprint: row.fingerprint,
  size: row.sizeBytes,
  type: row.type,
  created_at: row.createdAt,
  last_used_at: row.lastUsedAt ?? UNSET,
  uploaded_at: row.uploadedAt,
});
export type ApiImage = ReturnType<typeof imageToApi>;

/** Who looks: an untrusted caller sees public images only. */
export interface Viewer {
  project: string;
  publicOnly: boolean;
}

/** The images of the scope, each with its URL. */
export async function getImages(
  ctx: Authorized,
  scope: readonly string[] | null,
  publicOnly: boolean,
): Promise<{ url: string; image: ApiImage }[]> {
  const { images, aliases } = await listImages(ctx.db, scope, { publicOnly });
  return images.map((row) => {
    const own = aliases.filter((alias) => alias.project === row.project && alias.fingerprint === row.fingerprint);
    return { url: imageUrl(row), image: imageToApi(row, own) };
  });
}

async function getRow(ctx: Authorized, viewer: Viewer, fingerprint: string): Promise<ImageRow> {
  const row = await findImage(ctx.db, viewer.project, fingerprint);
  if (!row || (viewer.publicOnly && !row.public)) throw notFound('Image');
  return row;
}

/** One image by fingerprint or a unique beginning of it. Throws `not_found`, also for what the caller may not see. */
export async function getImage(ctx: Authorized, viewer: Viewer, fingerprint: string): Promise<ApiImage> {
  const [row, aliases] = await Promise.all([
    getRow(ctx, viewer, fingerprint),
    listAliasesOf(ctx.db, viewer.project, fingerprint),
  ]);
  return imageToApi(row, aliases);
}

/** Undefined fields stay as they are. */
export interface ImageChange {
  public: boolean | undefined;
  autoUpdate: boolean | undefined;
  properties: Record<string, string>;
  /** PATCH: properties that are not named stay. */
  merge: boolean;
  profiles: string[] | undefined;
  expiresAt: string | undefined;
}

export async function changeImage(
  ctx: Authorized,
  project: string,
  fingerprint: string,
  change: ImageChange,
): Promise<void> {
  const row = await getRow(ctx, { project, publicOnly: false }, fingerprint);
  const properties = withoutEmpty(change.merge ? { ...row.properties, ...change.properties } : change.properties);
  const fields = {
    public: change.public ?? row.public,
    autoUpdate: change.autoUpdate ?? row.autoUpdate,
    properties,
    profiles: change.profiles ?? row.profiles,
    expiresAt: change.expiresAt === undefined ? row.expiresAt : expiry(change.expiresAt),
  };
  await makeChange(ctx, {
    writes: [updateImage(ctx.db, row, fields)],
    events: [lifecycle(ctx, 'image-updated', imageUrl(row), row.project)],
  });
}

/** Null for the times that mean "never": unset, zero and the epoch. */
function expiry(text: string): string | null {
  const time = text === '' ? 0 : Date.parse(text);
  if (Number.isNaN(time)) throw badRequest(`Invalid time "${text}"`);
  return time <= 0 ? null : new Date(time).toISOString();
}

/**
 * Removes an image with its aliases at once; members drop their copies, those that are away when they return. Blobs go last:
 * one that cannot be deleted is logged.
 */
export async function removeImage(ctx: Authorized, project: string, fingerprint: string): Promise<ApiOperation> {
  const row = await findImage(ctx.db, project, fingerprint, { pending: true });
  if (!row) throw notFound('Image');
  const [members, shared] = await Promise.all([listMembers(ctx.db), isImageShared(ctx.db, row)]);
  const holders = shared || row.status === 'pending' ? [] : members;
  const commands = holders.map(({ name }) => ({
    member: name,
    name: 'image.delete' as const,
    params: { fingerprint: row.fingerprint },
  }));
  const { now, later } = byPresence(commands, members);
  const operation = await startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Deleting image',
      resources: { images: [imageUrl(row)] },
      mayCancel: false,
      location: locationOf(ctx),
    },
    writes: deleteImage(ctx.db, row),
    commands: now,
    converge: later,
    events: [deletedEvent(ctx, row)],
  });
  await Promise.all(row.parts.map((part) => dropBlob(ctx, part)));
  return operation;
}

function deletedEvent(ctx: Authorized, row: ImageRow): ClusterEvent {
  const { action, source, location, requestor } = lifecycle(ctx, 'image-deleted', imageUrl(row), row.project);
  return {
    type: 'lifecycle',
    timestamp: ctx.now(),
    location,
    project: row.project,
    metadata: { action, source, requestor: requestor ?? requestorOf(ctx.principal) },
  };
}

async function dropBlob(ctx: Authorized, { key }: ImagePart): Promise<void> {
  try {
    await ctx.blobs.delete(key);
  } catch (error) {
    ctx.log.warn('image.delete.leftover', { key }, error);
  }
}

/** What an export sends: one body, or the parts of a multipart form. Bodies open when they are read. */
export interface ImageContent {
  fingerprint: string;
  parts: {
    name: ImagePart['name'];
    filename: string;
    sizeBytes: number;
    open(): Promise<ReadableStream<Uint8Array>>;
  }[];
}

/** Throws `not_found` for an image the caller may not see; `open` throws it when the content is gone. */
export async function getImageContent(ctx: Authorized, viewer: Viewer, fingerprint: string): Promise<ImageContent> {
  const row = await getRow(ctx, viewer, fingerprint);
  const parts = row.parts.map(({ name, filename, sizeBytes, key }) => ({
    name,
    filename,
    sizeBytes,
    async open() {
      const blob = await ctx.blobs.get(key);
      if (blob === null) throw notFound('Image content');
      return blob.body;
    },
  }));
  return { fingerprint: row.fingerprint, parts };
}
