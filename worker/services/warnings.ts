/** Warnings: what a person should know of (lxd-api 5.1). */
import { badRequest, notFound } from '#protocol/errors.ts';
import { deleteWarning, findWarning, listWarnings, setWarningStatus, type WarningRow } from '#worker/state/warnings.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';

export const warningUrl = (id: string) => `/1.0/warnings/${id}`;

export const warningToApi = (row: WarningRow) => ({
  uuid: row.id,
  status: row.status,
  type: row.type,
  severity: row.severity,
  count: row.count,
  location: row.location,
  project: row.project,
  entity_url: row.entityUrl,
  first_seen_at: row.firstSeenAt,
  last_seen_at: row.lastSeenAt,
  last_message: row.lastMessage,
});

/** Null: of all projects. */
export const warningsOf = (ctx: Authorized, project: string | null) => listWarnings(ctx.db, project);

/** Throws `Warning not found`. */
export async function getWarning(ctx: Authorized, id: string): Promise<WarningRow> {
  const row = await findWarning(ctx.db, id);
  if (row === undefined) throw notFound('Warning');
  return row;
}

/** `acknowledged` or `new`; a resolved warning stays resolved. */
export async function markWarning(ctx: Authorized, row: WarningRow, status: string): Promise<void> {
  if (status !== 'acknowledged' && status !== 'new') {
    throw badRequest('Status may only be set to "acknowledge" or "new"');
  }
  const action = status === 'new' ? 'warning-reset' : 'warning-acknowledged';
  await makeChange(ctx, {
    writes: [setWarningStatus(ctx.db, row.id, status)],
    events: [lifecycle(ctx, action, warningUrl(row.id))],
  });
}

export async function removeWarning(ctx: Authorized, row: WarningRow): Promise<void> {
  await makeChange(ctx, {
    writes: [deleteWarning(ctx.db, row.id)],
    events: [lifecycle(ctx, 'warning-deleted', warningUrl(row.id))],
  });
}
