/**
 * Images and their aliases. Only `ready` images are found by users; a `pending` one has its content in the BlobStore and
 * waits for a member to read its metadata.
 */
import { and, asc, eq, inArray, like, ne, not, type SQL, sql } from 'drizzle-orm';
import { badRequest, notFound } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
import type { Db } from './db.ts';
import { type ImagePart, imageAliases, images, projects } from './schema.ts';
import type { Statement } from './statement.ts';

export type ImageRow = typeof images.$inferSelect;
export type NewImage = typeof images.$inferInsert;
export type ImageAliasRow = typeof imageAliases.$inferSelect;

/** The project whose images `project` uses: its own, or `default` when its feature is off. Throws `not_found`. */
export async function resolveImageProject(db: Db, project: string): Promise<string> {
  if (project === 'default') return project;
  const [row] = await db.select({ config: projects.config }).from(projects).where(eq(projects.name, project)).limit(1);
  if (!row) throw notFound('Project');
  return isTrue(row.config['features.images']) ? project : 'default';
}

/** `resolveImageProject` as an expression, so that a lookup stays one round trip. An unknown project matches itself. */
function effectiveProject(project: string): SQL {
  if (project === 'default') return sql`'default'`;
  const feature = sql`(select lower(json_extract(${projects.config}, '$."features.images"')) from ${projects} where ${projects.name} = ${project})`;
  const known = sql`exists (select 1 from ${projects} where ${projects.name} = ${project})`;
  return sql`(case when ${known} and coalesce(${feature}, 'false') not in ('true', '1', 'yes', 'on') then 'default' else ${project} end)`;
}

/**
 * A ready image of the project by fingerprint or a unique beginning of one; with `pending` one that is not ready too.
 * Throws `bad_request` when the beginning fits more than one.
 */
export async function findImage(
  db: Db,
  project: string,
  fingerprint: string,
  filter: { pending?: boolean } = {},
): Promise<ImageRow | undefined> {
  if (!/^[0-9a-f]{1,64}$/.test(fingerprint)) return undefined;
  const rows = await db
    .select()
    .from(images)
    .where(
      and(
        eq(images.project, effectiveProject(project)),
        like(images.fingerprint, `${fingerprint}%`),
        filter.pending ? undefined : eq(images.status, 'ready'),
      ),
    )
    .limit(2);
  if (rows.length > 1) throw badRequest(`More than one image matches "${fingerprint}"`);
  return rows[0];
}

/** The ready image that the alias names in this project. */
export async function findImageByAlias(db: Db, project: string, alias: string): Promise<ImageRow | undefined> {
  const rows = await db
    .select({ image: images })
    .from(imageAliases)
    .innerJoin(images, and(eq(images.project, imageAliases.project), eq(images.fingerprint, imageAliases.fingerprint)))
    .where(
      and(
        eq(imageAliases.project, effectiveProject(project)),
        eq(imageAliases.name, alias),
        eq(images.status, 'ready'),
      ),
    )
    .limit(1);
  return rows[0]?.image;
}

/**
 * The ready images with all aliases: two statements, one round trip. One project means the images it uses, several their
 * own, null those of all.
 */
export async function listImages(
  db: Db,
  scope: readonly string[] | null,
  filter: { publicOnly?: boolean } = {},
): Promise<{ images: ImageRow[]; aliases: ImageAliasRow[] }> {
  const inScope = (column: typeof images.project | typeof imageAliases.project) => {
    const [first, ...more] = scope ?? [];
    if (scope === null) return undefined;
    return first !== undefined && more.length === 0 ? eq(column, effectiveProject(first)) : inArray(column, [...scope]);
  };
  const [rows, aliases] = await db.batch([
    db
      .select()
      .from(images)
      .where(
        and(
          eq(images.status, 'ready'),
          inScope(images.project),
          filter.publicOnly ? eq(images.public, true) : undefined,
        ),
      )
      .orderBy(asc(images.uploadedAt), asc(images.fingerprint)),
    db.select().from(imageAliases).where(inScope(imageAliases.project)).orderBy(asc(imageAliases.name)),
  ]);
  return { images: rows, aliases };
}

/** The aliases of what `findImage` finds by the same words, by name. */
export const listAliasesOf = (db: Db, project: string, fingerprint: string): Promise<ImageAliasRow[]> =>
  db
    .select()
    .from(imageAliases)
    .where(and(eq(imageAliases.project, effectiveProject(project)), like(imageAliases.fingerprint, `${fingerprint}%`)))
    .orderBy(asc(imageAliases.name));

/** The content of an image, pending ones too: any project's copy is as good, the fingerprint vouches for it. */
export async function findImageParts(db: Db, fingerprint: string): Promise<ImagePart[] | undefined> {
  const rows = await db
    .select({ parts: images.parts })
    .from(images)
    .where(eq(images.fingerprint, fingerprint))
    // Ready before pending: a pending row goes away when its inspection fails.
    .orderBy(sql`${images.status} = 'ready' desc`)
    .limit(1);
  return rows[0]?.parts;
}

/** Whether another project holds the same image: its copies on the members are shared. */
export async function isImageShared(db: Db, image: Pick<ImageRow, 'project' | 'fingerprint'>): Promise<boolean> {
  const rows = await db
    .select({ project: images.project })
    .from(images)
    .where(and(eq(images.fingerprint, image.fingerprint), ne(images.project, image.project)))
    .limit(1);
  return rows.length > 0;
}

/** Whether this project has a row of this fingerprint, ready or pending. */
export async function hasImageRow(db: Db, project: string, fingerprint: string): Promise<boolean> {
  const rows = await db
    .select({ project: images.project })
    .from(images)
    .where(and(eq(images.project, project), eq(images.fingerprint, fingerprint)))
    .limit(1);
  return rows.length > 0;
}

/** A unique violation means that the project has the image already. */
export const insertImage = (db: Db, row: NewImage): Statement => db.insert(images).values(row);

/** The fields that users may change. */
export const updateImage = (
  db: Db,
  image: Pick<ImageRow, 'project' | 'fingerprint'>,
  fields: Partial<Pick<ImageRow, 'public' | 'autoUpdate' | 'properties' | 'profiles' | 'expiresAt'>>,
): Statement =>
  db
    .update(images)
    .set(fields)
    .where(and(eq(images.project, image.project), eq(images.fingerprint, image.fingerprint)));

/** The row and every alias of it. */
export const deleteImage = (db: Db, image: Pick<ImageRow, 'project' | 'fingerprint'>): Statement[] => [
  db
    .delete(imageAliases)
    .where(and(eq(imageAliases.project, image.project), eq(imageAliases.fingerprint, image.fingerprint))),
  db.delete(images).where(and(eq(images.project, image.project), eq(images.fingerprint, image.fingerprint))),
];

export type ImageAlias = ImageAliasRow & { type: ImageRow['type'] };

const aliasColumns = {
  project: imageAliases.project,
  name: imageAliases.name,
  description: imageAliases.description,
  fingerprint: imageAliases.fingerprint,
  type: images.type,
};

/** The project's aliases of ready images, by name. */
export const listAliases = (db: Db, project: string, filter: { publicOnly?: boolean } = {}): Promise<ImageAlias[]> =>
  db
    .select(aliasColumns)
    .from(imageAliases)
    .innerJoin(images, and(eq(images.project, imageAliases.project), eq(images.fingerprint, imageAliases.fingerprint)))
    .where(
      and(
        eq(imageAliases.project, effectiveProject(project)),
        eq(images.status, 'ready'),
        filter.publicOnly ? eq(images.public, true) : undefined,
      ),
    )
    .orderBy(asc(imageAliases.name));

export async function findAlias(
  db: Db,
  project: string,
  name: string,
  filter: { publicOnly?: boolean } = {},
): Promise<ImageAlias | undefined> {
  const rows = await db
    .select(aliasColumns)
    .from(imageAliases)
    .innerJoin(images, and(eq(images.project, imageAliases.project), eq(images.fingerprint, imageAliases.fingerprint)))
    .where(
      and(
        eq(imageAliases.project, effectiveProject(project)),
        eq(imageAliases.name, name),
        eq(images.status, 'ready'),
        filter.publicOnly ? eq(images.public, true) : undefined,
      ),
    )
    .limit(1);
  return rows[0];
}

const withoutImage = sql`not exists (select 1 from ${images}
  where ${images.project} = ${imageAliases.project} and ${images.fingerprint} = ${imageAliases.fingerprint})`;

/** Which of these names are taken in the project, by an alias of any image. */
export async function findTakenAliases(db: Db, project: string, names: string[]): Promise<string[]> {
  if (names.length === 0) return [];
  const rows = await db
    .select({ name: imageAliases.name })
    .from(imageAliases)
    .where(and(eq(imageAliases.project, project), inArray(imageAliases.name, names), not(withoutImage)));
  return rows.map((row) => row.name);
}

/** A unique violation means that the name is taken. A name left behind by an image that never became ready is free. */
export const insertAlias = (db: Db, alias: ImageAliasRow): Statement[] => [
  db
    .delete(imageAliases)
    .where(and(eq(imageAliases.project, alias.project), eq(imageAliases.name, alias.name), withoutImage)),
  db.insert(imageAliases).values(alias),
];

export const updateAlias = (
  db: Db,
  alias: Pick<ImageAliasRow, 'project' | 'name'>,
  fields: Partial<Pick<ImageAliasRow, 'name' | 'description' | 'fingerprint'>>,
): Statement =>
  db
    .update(imageAliases)
    .set(fields)
    .where(and(eq(imageAliases.project, alias.project), eq(imageAliases.name, alias.name)));

export const deleteAlias = (db: Db, alias: Pick<ImageAliasRow, 'project' | 'name'>): Statement =>
  db.delete(imageAliases).where(and(eq(imageAliases.project, alias.project), eq(imageAliases.name, alias.name)));
