/** How many more instances a project may have: `limits.instances`, and `limits.containers`, which all of ours are. */
import { sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Db, Write } from './db.ts';

/** Null: no limit. */
const limitOf = (
  project: string,
) => sql`(select min(cast(entry.value as integer)) from projects, json_each(projects.config) as entry
  where projects.name = ${project} and entry.key in ('limits.instances', 'limits.containers') and entry.value <> '')`;

const Room = z.array(z.object({ room: z.number().nullable() }));

/** How many instances fit, for a batch of reads; `readRoom` takes its answer. */
export const roomQuery = (db: Db, project: string) =>
  db.all<unknown>(
    sql`select ${limitOf(project)} - (select count(*) from instances where project = ${project}) as room`,
  );

/** Null: as many as anybody likes. */
export const readRoom = (rows: unknown): number | null => Room.parse(rows)[0]?.room ?? null;

/**
 * For the batch of an instance, after its row: fails the whole of it when that is one too many, as `isOutOfRoom` tells. What
 * was read before only spares the work.
 */
export const requireRoom = (db: Db, project: string): Write =>
  db.run(sql`update projects set name = null where name = ${project}
    and (select count(*) from instances where project = ${project}) > ${limitOf(project)}`);

/** Whether a batch failed by `requireRoom`, whatever layer wrapped its error. */
export const isOutOfRoom = (error: unknown): boolean =>
  error instanceof Error &&
  (/NOT NULL constraint failed: projects\.name/.test(error.message) || isOutOfRoom(error.cause));
