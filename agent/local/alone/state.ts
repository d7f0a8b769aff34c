/** Starting, stopping and the like of this host's instances, in turn with the control plane's commands. */

import type { InstanceStatePut } from '#protocol/api/instance.ts';
import { readStateRequest, STATE_DESCRIPTIONS, stateEvent } from '#protocol/api/instance-state.ts';
import type { InstanceRef } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { refuse } from '../../commands/instance-state.ts';
import { getRecord, refOf, statusOf } from '../../commands/instances.ts';
import type { AloneDeps } from './deps.ts';
import { instanceUrl } from './instances.ts';
import type { ApiOperation, Operations } from './operations.ts';

/** Throws 404, 400 when the instance is in that state already. */
export async function changeState(
  deps: AloneDeps,
  operations: Operations,
  ref: InstanceRef,
  body: InstanceStatePut,
): Promise<ApiOperation> {
  const request = readStateRequest(body);
  const { spec } = getRecord(deps.host, ref);
  const refusal = refuse(request.action, await statusOf(deps.host, ref));
  if (refusal !== null) throw badRequest(refusal);
  return operations.start(
    {
      project: ref.project,
      class: 'task',
      description: STATE_DESCRIPTIONS[request.action],
      resources: { instances: [instanceUrl(ref)] },
      metadata: null,
    },
    async () => {
      const { report } = await deps.perform(deps.host, { name: 'instance.state', params: { spec, ...request } });
      deps.keepEvent({ action: stateEvent(request), ...refOf(ref), status: report.status });
      return {};
    },
  );
}
