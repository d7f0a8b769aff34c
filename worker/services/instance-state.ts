/** Starting, stopping and the like; renaming and deleting: what asks one member to act on an instance as a whole. */
import type { InstancePost, InstanceStatePut } from '#protocol/api/instance.ts';
import { readStateRequest, STATE_DESCRIPTIONS } from '#protocol/api/instance-state.ts';
import type { StateAction } from '#protocol/commands.ts';
import { badRequest, conflict, notFound, unavailable } from '#protocol/errors.ts';
import { checkInstanceName } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import { expandConfig } from '#worker/domain/config.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import {
  type InstanceRow,
  listInstances,
  loadInstance,
  loadInstanceForChange,
} from '#worker/state/instance-queries.ts';
import { instanceResources, instanceUrl } from '#worker/state/instance-urls.ts';
import { toPoolSpec } from '#worker/state/pools.ts';
import type { Authorized } from './context.ts';
import { toInstanceSpec } from './instance-spec.ts';
import { profileLayers, requireOnline } from './instances.ts';
import { startOperation } from './operations.ts';

/** Why the action makes no sense for an instance in this state, in LXD's words; null when it does. */
export function refuseAction(action: StateAction, status: InstanceRow['status']): string | null {
  // What could not be read is left to the member to judge.
  if (status === 'Error') return null;
  const stopped = status === 'Stopped';
  switch (action) {
    case 'start':
      return stopped ? null : 'The instance is already running';
    case 'stop':
      return stopped ? 'The instance is already stopped' : null;
    case 'restart':
      return stopped ? 'The instance is already stopped' : null;
    case 'freeze':
      if (status === 'Frozen') return 'The container is already frozen';
      return stopped ? "The container isn't running" : null;
    case 'unfreeze':
      if (stopped) return "The container isn't running";
      return status === 'Running' ? 'The container is already running' : null;
  }
}

/** `PUT …/state`. Throws 404, 503 when the member is away, 400 when the instance is in that state already. */
export async function changeState(ctx: Authorized, project: string, name: string, body: InstanceStatePut) {
  const request = readStateRequest(body);
  const loaded = await loadInstance(ctx.db, project, name);
  if (!loaded) throw notFound('Instance');
  const { row, profiles } = loaded;
  requireOnline(loaded);
  const refusal = refuseAction(request.action, row.status);
  if (refusal !== null) throw badRequest(refusal);
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: STATE_DESCRIPTIONS[request.action],
      resources: { instances: [instanceUrl(project, name)] },
      mayCancel: false,
      location: row.member,
    },
    commands: [
      { member: row.member, name: 'instance.state', params: { spec: toInstanceSpec(row, profiles), ...request } },
    ],
  });
}

/**
 * `PUT /1.0/instances`: every instance of the project that is not in that state yet, in one operation. Instances whose member
 * is away are left as they are and named in the operation's metadata; 503 when that is all of them.
 */
export async function changeAllStates(ctx: Authorized, project: string, body: InstanceStatePut) {
  const request = readStateRequest(body);
  const list = await listInstances(ctx.db, [project]);
  const layersOf = profileLayers(list);
  const online = new Set(list.members.filter((member) => member.online).map((member) => member.name));
  const due = list.rows.filter(
    (row) => row.status !== 'Error' && row.movingTo === null && refuseAction(request.action, row.status) === null,
  );
  const reachable = due.filter((row) => online.has(row.member));
  const away = due.filter((row) => !online.has(row.member));
  const [first] = away;
  if (reachable.length === 0 && first) throw unavailable(`Cluster member "${first.member}" is offline`);
  const commands: NewCommand[] = reachable.map((row) => ({
    member: row.member,
    name: 'instance.state',
    params: { spec: toInstanceSpec(row, layersOf(row)), ...request },
  }));
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: STATE_DESCRIPTIONS[request.action],
      resources: { instances: reachable.map((row) => instanceUrl(project, row.name)) },
      ...(away.length > 0 ? { metadata: { unreachable: away.map((row) => row.name) } } : {}),
      mayCancel: false,
      location: ctx.principal.member ?? reachable[0]?.member ?? '',
    },
    commands,
    // With nothing to do the operation is done at once.
    converge: [],
  });
}

const RENAMING_RUNNING = 'Renaming of running container not allowed';

/** `POST /1.0/instances/<name>` with a new name. */
export async function renameInstance(
  ctx: Authorized,
  { project, name }: { project: string; name: string },
  body: InstancePost,
) {
  const refusal = checkInstanceName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  const loaded = await loadInstanceForChange(ctx.db, project, name, { newName: body.name });
  if (!loaded) throw notFound('Instance');
  requireOnline(loaded);
  const { row, profiles } = loaded;
  if (loaded.nameTaken) throw conflict(`Name "${body.name}" already in use`);
  if (row.status === 'Running' || row.status === 'Frozen') throw badRequest(RENAMING_RUNNING);
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Renaming instance',
      resources: instanceResources(project, name),
      mayCancel: false,
      location: row.member,
    },
    commands: [
      {
        member: row.member,
        name: 'instance.rename',
        params: { spec: toInstanceSpec(row, profiles), newName: body.name },
      },
    ],
  });
}

/** `DELETE`. Throws 400 for an instance that runs or is protected, 503 when its member is away. */
export async function deleteInstance(ctx: Authorized, project: string, name: string) {
  const loaded = await loadInstanceForChange(ctx.db, project, name);
  if (!loaded) throw notFound('Instance');
  const { row, profiles, pool } = loaded;
  if (isTrue(expandConfig(profiles, row.config)['security.protection.delete']))
    throw badRequest('Container is protected');
  requireOnline(loaded);
  if (row.status === 'Running' || row.status === 'Frozen') throw badRequest('Instance is running');
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Deleting instance',
      resources: instanceResources(project, name),
      mayCancel: false,
      location: row.member,
    },
    commands: [
      {
        member: row.member,
        name: 'instance.delete',
        params: { ref: { project, name }, pool: pool ? toPoolSpec(pool.row, pool.memberConfig) : null, id: row.id },
      },
    ],
  });
}
