/** The tables that say on which member something is, found by their columns: a new table is not forgotten at a rename. */
import { getTableColumns, is, sql } from 'drizzle-orm';
import { getTableConfig, SQLiteTable } from 'drizzle-orm/sqlite-core';
import * as schema from './schema.ts';

/** As identifiers for statements; they are constants of the schema, never input. */
export const MEMBER_TABLES: readonly { name: string; table: ReturnType<typeof sql.raw> }[] = Object.values(
  schema,
).flatMap((entry: unknown) => {
  if (!is(entry, SQLiteTable)) return [];
  const places = Object.values(getTableColumns(entry)).some((column) => column.name === 'member');
  const { name } = getTableConfig(entry);
  return places ? [{ name, table: sql.raw(`"${name}"`) }] : [];
});
