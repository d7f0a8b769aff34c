/** Taking a member out of the cluster (lxd-api 12.1). */
import { failed, notFound } from '#protocol/errors.ts';
import { removedText } from '#worker/domain/member.ts';
import { cancelWaiting } from '#worker/state/commands.ts';
import { listWaitingCommandIds, readTenants, removeMember } from '#worker/state/member-remove.ts';
import { getMember, memberUrl } from '#worker/state/members.ts';
import { lifecycle, spread } from './changes.ts';
import type { Authorized } from './context.ts';

/**
 * Removes the member and tells its agent, which then cleans up after itself. Without `force` it is refused, in LXD's words,
 * while instances or volumes are there; with it everything recorded as being there is dropped, and the host keeps what it
 * has. Operations that wait for the member end as cancelled.
 */
export async function deleteMember(ctx: Authorized, name: string, force: boolean): Promise<void> {
  await getMember(ctx.db, name);
  if (!force) await refuseInUse(ctx, name);
  for (const id of await listWaitingCommandIds(ctx.db, name)) {
    await spread(ctx, await cancelWaiting(ctx.db, id, ctx.now()));
  }
  const event = lifecycle(ctx, 'cluster-member-removed', memberUrl(name));
  const followup = await removeMember(ctx.db, { member: name, force, event, now: ctx.now() });
  if (followup.events.length === 0) {
    // Something was placed there meanwhile, or somebody else was faster.
    if (!force) await refuseInUse(ctx, name);
    throw notFound('Cluster member');
  }
  await spread(ctx, followup);
  const removal = { reason: removedText(name, ctx.now()), cleanUp: !force };
  await ctx.objects.links.remove(name, removal).catch((error: unknown) => {
    ctx.log.warn('member.remove.untold', { member: name }, error);
  });
}

async function refuseInUse(ctx: Authorized, name: string): Promise<void> {
  const { instances, volumes } = await readTenants(ctx.db, name);
  if (instances.length > 0) throw failed(`Node still has the following containers: ${instances.join(', ')}`);
  if (volumes.length > 0) throw failed(`Node still has the following custom volumes: ${volumes.join(', ')}`);
}
