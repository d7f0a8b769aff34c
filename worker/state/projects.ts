/** Projects. */
import { asc, eq } from 'drizzle-orm';
import type { Db } from './db.ts';
import { projects } from './schema.ts';
import type { Statement } from './statement.ts';

export type ProjectRow = typeof projects.$inferSelect;

export async function findProject(db: Db, name: string): Promise<ProjectRow | undefined> {
  return db.select().from(projects).where(eq(projects.name, name)).get();
}

export async function listProjects(db: Db): Promise<ProjectRow[]> {
  return db.select().from(projects).orderBy(asc(projects.name)).all();
}

/** Fails with a unique violation when the name is taken. */
export const insertProject = (db: Db, row: ProjectRow): Statement => db.insert(projects).values(row);

export const updateProject = (db: Db, name: string, values: Partial<ProjectRow>): Statement =>
  db.update(projects).set(values).where(eq(projects.name, name));

export const deleteProject = (db: Db, name: string): Statement => db.delete(projects).where(eq(projects.name, name));
