/** The copy that each host keeps of what it needs of the database (`protocol/backup.ts`). */
import { HostBackup } from '#protocol/backup.ts';
import { conflict } from '#protocol/errors.ts';
import { readBackup } from '#worker/state/backup.ts';
import { isRecovering } from '#worker/state/recovery.ts';
import type { Context } from './context.ts';

/** Throws `conflict` while the host's own copy is all that is left. */
export async function giveBackup(ctx: Context, member: string): Promise<HostBackup> {
  const [recovering, backup] = await Promise.all([isRecovering(ctx.db, member), readBackup(ctx.db, member, ctx.now())]);
  if (recovering) throw conflict('The cluster is being recovered from what this host has');
  // Rows have more columns than hosts need.
  return HostBackup.parse(backup);
}
