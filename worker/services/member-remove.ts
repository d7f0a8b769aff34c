/** Taking a member out of the cluster (lxd-api 12.1). */
import { failed } from '#protocol/errors.ts';
import { cancelWaiting } from '#worker/state/commands.ts';
import { deleteMemberConfig } from '#worker/state/config.ts';
import { listInstanceNamesOn, listWaitingCommandIds, removeMember } from '#worker/state/member-remove.ts';
import { findMember, getMember, memberUrl } from '#worker/state/members.ts';
import { lifecycle, makeChange, spread } from './changes.ts';
import type { Authorized } from './context.ts';

/**
 * Removes the member and closes its link. Without `force` it is refused while instances are there; with it everything
 * recorded as being there is dropped, and operations that wait for the member end as cancelled.
 */
export async function deleteMember(ctx: Authorized, name: string, force: boolean): Promise<void> {
  await getMember(ctx.db, name);
  await refuseInUse(ctx, name, force);
  for (const id of await listWaitingCommandIds(ctx.db, name)) {
    await spread(ctx, await cancelWaiting(ctx.db, id, ctx.now()));
  }
  await makeChange(ctx, {
    writes: [...removeMember(ctx.db, name, force), deleteMemberConfig(ctx.db, name)],
    events: [lifecycle(ctx, 'cluster-member-removed', memberUrl(name))],
  });
  // An instance that was placed there meanwhile keeps the member.
  if (!force && (await findMember(ctx.db, name)) !== undefined) await refuseInUse(ctx, name, force);
  await ctx.objects.links.disconnect(name, 'Removed from the cluster').catch((error: unknown) => {
    ctx.log.warn('member.disconnect.failed', { member: name }, error);
  });
}

async function refuseInUse(ctx: Authorized, name: string, force: boolean): Promise<void> {
  if (force) return;
  const names = await listInstanceNamesOn(ctx.db, name);
  if (names.length > 0) throw failed(`Node still has the following containers: ${names.join(', ')}`);
}
