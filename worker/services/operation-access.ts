/** Who may see and touch an operation (lxd-api 3.2). */
import { forbidden, notFound } from '#protocol/errors.ts';
import { sha256Hex, timingSafeEqual } from '#worker/lib/crypto.ts';
import { getOperation, listOperations, type OperationRow } from '#worker/state/operations.ts';
import type { Authorized, Context } from './context.ts';
import { cancelExpiredTokens } from './tokens.ts';

/** Throws `Operation not found`, also for one outside a restricted caller's projects. */
export async function getVisibleOperation(ctx: Authorized, id: string): Promise<OperationRow> {
  const row = await getOperation(ctx.db, id);
  if (!isVisible(ctx, row)) throw notFound('Operation');
  return row;
}

/** Of these projects (null: all) and of none; what runs comes with what ended a while ago. */
export async function listVisibleOperations(ctx: Authorized, projects: string[] | null): Promise<OperationRow[]> {
  await cancelExpiredTokens(ctx);
  const [project] = projects ?? [];
  const rows = await listOperations(ctx.db, { project: projects?.length === 1 ? (project ?? null) : null });
  return rows.filter(
    (row) => isVisible(ctx, row) && (projects === null || row.project === '' || projects.includes(row.project)),
  );
}

/** Operations of no project are the server's: tokens, members. */
function isVisible(ctx: Authorized, row: OperationRow): boolean {
  const { projects } = ctx.principal;
  return projects === null || projects.includes(row.project);
}

/**
 * Lets somebody without a certificate wait for an operation whose websocket secret they hold. Throws 403 for a wrong
 * secret and for an operation that has none.
 */
export async function authorizeBySecret(ctx: Context, id: string, secret: string): Promise<void> {
  const row = await getOperation(ctx.db, id).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'not_found') throw forbidden();
    throw error;
  });
  const wanted = await sha256Hex(secret);
  const known = await Promise.all(secretsOf(row.metadata).map((own) => sha256Hex(own)));
  if (!known.some((own) => timingSafeEqual(own, wanted))) throw forbidden();
}

function secretsOf(metadata: OperationRow['metadata']): string[] {
  const fds = metadata?.fds;
  const values = typeof fds === 'object' && fds !== null ? Object.values(fds) : [];
  return values.filter((value): value is string => typeof value === 'string' && value !== '');
}
