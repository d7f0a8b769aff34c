/** Evacuating a member and restoring it (lxd-api 12.3). */
import type { ClusterMemberStatePost } from '#protocol/api/cluster.ts';
import { AppError, badRequest } from '#protocol/errors.ts';

/** Refused by name, and `clustering_evacuation` is not announced, as instances cannot move between members yet. */
export function refuseStateChange({ action }: ClusterMemberStatePost): never {
  if (action !== 'evacuate' && action !== 'restore') throw badRequest(`Unknown action "${action.slice(0, 64)}"`);
  throw new AppError(
    'not_implemented',
    'Evacuation is not supported in this version: set scheduler.instance=manual and stop the instances instead',
  );
}
