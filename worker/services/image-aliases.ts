/** Image aliases: names of images in a project. They may hold slashes. */
import { AppError, badRequest, conflict, notFound } from '#protocol/errors.ts';
import { checkAliasName } from '#protocol/names.ts';
import {
  deleteAlias,
  findAlias,
  findImage,
  findTakenAliases,
  type ImageAlias,
  insertAlias,
  listAliases,
  resolveImageProject,
  updateAlias,
} from '#worker/state/images.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import type { Viewer } from './images.ts';
import { resourceUrl } from './member-work.ts';

const aliasUrl = ({ name, project }: { name: string; project: string }) => resourceUrl('images/aliases', name, project);

const toApi = ({ description, fingerprint, name, type }: ImageAlias) => ({
  description,
  target: fingerprint,
  name,
  type,
});
export type ApiAlias = ReturnType<typeof toApi>;

/** The project's aliases by name, each with its URL. */
export async function getAliases(ctx: Authorized, viewer: Viewer): Promise<{ url: string; alias: ApiAlias }[]> {
  const rows = await listAliases(ctx.db, viewer.project, { publicOnly: viewer.publicOnly });
  return rows.map((row) => ({ url: aliasUrl(row), alias: toApi(row) }));
}

/** Throws `not_found`, also for an alias of an image that the caller may not see. */
export async function getAlias(ctx: Authorized, viewer: Viewer, name: string): Promise<ApiAlias> {
  return toApi(await getRow(ctx, viewer, name));
}

async function getRow(ctx: Authorized, viewer: Viewer, name: string): Promise<ImageAlias> {
  const row = await findAlias(ctx.db, viewer.project, name, { publicOnly: viewer.publicOnly });
  if (!row) throw notFound('Image alias');
  return row;
}

async function resolveTarget(ctx: Authorized, project: string, target: string): Promise<string> {
  const image = await findImage(ctx.db, project, target);
  if (!image) throw notFound('Image');
  return image.fingerprint;
}

const taken = (name: string) => conflict(`Alias "${name}" already exists`);

/** Another request may take the name between the look and the write. */
async function orTaken(name: string, change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? taken(name) : error;
  }
}

function checkName(name: string): void {
  const refusal = checkAliasName(name);
  if (refusal !== null) throw badRequest(refusal);
}

/** Throws `conflict` for a taken name, `not_found` for a target that is no image. */
export async function createAlias(
  ctx: Authorized,
  requestProject: string,
  asked: { name: string; description: string; target: string },
): Promise<void> {
  const { name, description } = asked;
  checkName(name);
  const project = await resolveImageProject(ctx.db, requestProject);
  if ((await findTakenAliases(ctx.db, project, [name])).length > 0) throw taken(name);
  const fingerprint = await resolveTarget(ctx, project, asked.target);
  const change = makeChange(ctx, {
    writes: insertAlias(ctx.db, { project, name, description, fingerprint }),
    events: [lifecycle(ctx, 'image-alias-created', aliasUrl({ name, project }), project, { target: fingerprint })],
  });
  await orTaken(name, change);
}

/** Undefined fields stay as they are. */
export async function changeAlias(
  ctx: Authorized,
  project: string,
  name: string,
  change: { description: string | undefined; target: string | undefined },
): Promise<void> {
  const row = await getRow(ctx, { project, publicOnly: false }, name);
  if (change.target === '') throw badRequest('The target field is required');
  const fingerprint =
    change.target === undefined ? row.fingerprint : await resolveTarget(ctx, row.project, change.target);
  await makeChange(ctx, {
    writes: [updateAlias(ctx.db, row, { description: change.description ?? row.description, fingerprint })],
    events: [lifecycle(ctx, 'image-alias-updated', aliasUrl(row), row.project, { target: fingerprint })],
  });
}

/** Throws `conflict` when the new name is taken. */
export async function renameAlias(ctx: Authorized, project: string, name: string, newName: string): Promise<void> {
  checkName(newName);
  const row = await getRow(ctx, { project, publicOnly: false }, name);
  if ((await findTakenAliases(ctx.db, row.project, [newName])).length > 0) throw taken(newName);
  const change = makeChange(ctx, {
    writes: [updateAlias(ctx.db, row, { name: newName })],
    events: [
      lifecycle(ctx, 'image-alias-renamed', aliasUrl({ ...row, name: newName }), row.project, { old_name: name }),
    ],
  });
  await orTaken(newName, change);
}

export async function removeAlias(ctx: Authorized, project: string, name: string): Promise<void> {
  const row = await getRow(ctx, { project, publicOnly: false }, name);
  await makeChange(ctx, {
    writes: [deleteAlias(ctx.db, row)],
    events: [lifecycle(ctx, 'image-alias-deleted', aliasUrl(row), row.project)],
  });
}
