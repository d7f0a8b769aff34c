/**
 * `lxc move <instance> --target <member>` (lxd-api 6.4): a stopped instance goes to the pool of the same name on another member.
 * Both members are asked at once; the stream between them, and who may use it, are in their commands.
 */
import type { InstancePost } from '#protocol/api/instance.ts';
import { badRequest, notFound } from '#protocol/errors.ts';
import { expandConfig, expandDevices } from '#worker/domain/config.ts';
import { nicNetworks } from '#worker/domain/instance-devices.ts';
import type { NewCommand, Placement } from '#worker/objects/contract.ts';
import type { Write } from '#worker/state/db.ts';
import { loadPlaces, type Places, setMoving } from '#worker/state/instance-move.ts';
import { type InstanceRow, loadInstance, type ProfileLayer } from '#worker/state/instance-queries.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import { toPoolSpec } from '#worker/state/pools.ts';
import type { Authorized } from './context.ts';
import { memoryBytesOf, toInstanceSpec, toNetworkSpecs } from './instance-spec.ts';
import { checkVolumesOn } from './instance-volumes.ts';
import { requireOnline } from './instances.ts';
import { startOperation } from './operations.ts';

interface Request {
  project: string;
  name: string;
  target: string | null;
}

/** Whether the request is for another place, not (only) another name. */
export const isMove = ({ target }: Pick<Request, 'target'>, body: InstancePost): boolean =>
  body.migration || target !== null || body.pool !== '' || body.project !== '';

/** Starts the move. Throws LXD's refusals; then nothing has been written. */
export async function moveInstance(ctx: Authorized, { project, name, target }: Request, body: InstancePost) {
  if (body.pool !== '' || body.project !== '' || target === null)
    throw badRequest('Moving instances between pools, projects or clusters is not supported in this version');
  if (body.name !== '' && body.name !== name)
    throw badRequest('An instance cannot get another name and another member at once: rename it first');
  const loaded = await loadInstance(ctx.db, project, name);
  if (!loaded) throw notFound('Instance');
  const { row, profiles } = loaded;
  if (target === row.member) throw badRequest("Target must be different than instance's current location");
  requireOnline(loaded);
  if (row.status === 'Running' || row.status === 'Frozen')
    throw badRequest(
      body.live
        ? "Unable to perform container live migration. CRIU isn't installed"
        : 'Instance must be stopped to be moved statelessly',
    );
  const { member: to } = await placeElsewhere(ctx, row, profiles, target);
  const places = await loadPlaces(ctx.db, [to]);
  const move = planMove(ctx, { row, profiles, to, places }, { running: false, volatile: {}, evacuates: null });
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Migrating instance',
      resources: instanceResources(project, name),
      mayCancel: true,
      location: row.member,
    },
    writes: [move.write],
    commands: move.commands,
  });
}

/**
 * A member that can take the instance, other than its own. The reservation ends by itself, as the row counts where the
 * instance is until it has moved. Throws what placement says.
 */
export async function placeElsewhere(
  ctx: Authorized,
  row: InstanceRow,
  profiles: readonly ProfileLayer[],
  target: string | null,
): Promise<Placement> {
  const devices = expandDevices(profiles, row.devices);
  const nics = nicNetworks(devices);
  const placement = await ctx.objects.cluster.place({
    // Not the instance's own id: the row by that id stands for the place it leaves.
    instanceId: `move:${row.id}`,
    project: row.project,
    name: row.name,
    architecture: row.architecture,
    pool: row.pool,
    networks: nics.required,
    imageFingerprint: null,
    memoryBytes: memoryBytesOf(expandConfig(profiles, row.config)),
    target,
    avoid: row.member,
  });
  await checkVolumesOn(ctx, row.project, devices, placement.member);
  return placement;
}

export interface MovePlan {
  /** Notes that it is moving. */
  write: Write;
  commands: NewCommand[];
}

/** How long an instance may take to stop; LXD's default and key. */
const STOP_TIMEOUT_S = 30;

/** Both halves of a move. `running`: it is stopped for it, and started again where it is afterwards. */
export function planMove(
  ctx: Authorized,
  { row, profiles, to, places }: { row: InstanceRow; profiles: readonly ProfileLayer[]; to: string; places: Places },
  options: { running: boolean; volatile: Record<string, string>; evacuates: string | null },
): MovePlan {
  const pool = places.pools.find(({ name }) => name === row.pool);
  if (pool === undefined) throw notFound('Storage pool');
  const own = places.poolMembers.find((entry) => entry.pool === row.pool && entry.member === to);
  const spec = toInstanceSpec(row, profiles);
  const streamId = ctx.newId();
  const { running, volatile, evacuates } = options;
  const isTask = evacuates !== null || volatile['volatile.evacuate.origin'] !== undefined;
  return {
    write: setMoving(ctx.db, { id: row.id, from: row.member, to }),
    commands: [
      {
        member: to,
        name: 'instance.receive',
        params: {
          spec,
          pool: toPoolSpec(pool, own?.config ?? {}),
          networks: toNetworkSpecs(spec.expandedDevices, places.networks, places.networkMembers, to),
          streamId,
          from: row.member,
          volatile,
          start: running,
          evacuates,
        },
      },
      {
        member: row.member,
        name: 'instance.send',
        params: {
          spec,
          streamId,
          to,
          stop: running ? { timeoutSeconds: stopTimeoutOf(spec.expandedConfig) } : null,
          progress: isTask ? 'evacuation_progress' : 'fs_progress',
        },
      },
    ],
  };
}

/** By `boot.host_shutdown_timeout`. */
export function stopTimeoutOf(config: Record<string, string>): number {
  const seconds = Number(config['boot.host_shutdown_timeout'] ?? '');
  return Number.isInteger(seconds) && seconds > 0 ? Math.min(seconds, 3600) : STOP_TIMEOUT_S;
}
