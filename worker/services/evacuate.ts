/**
 * Evacuating a member and restoring it (lxd-api 12.3). All that is to be done is written at once, as commands of one operation;
 * from then on the members' results carry it, whatever becomes of this process.
 */
import type { ClusterMemberStatePost } from '#protocol/api/cluster.ts';
import { AppError, badRequest, unavailable } from '#protocol/errors.ts';
import { expandConfig, expandDevices } from '#worker/domain/config.ts';
import { addressRefusal, EVACUATION_MODES, evacuationAction } from '#worker/domain/evacuation.ts';
import { FAILURE } from '#worker/domain/operation.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { changeMemberState, ORIGIN_KEY, type StateChange } from '#worker/state/evacuate.ts';
import { loadPlaces, type Places } from '#worker/state/instance-move.ts';
import { type InstanceRow, listInstances, type ProfileLayer } from '#worker/state/instance-queries.ts';
import { getMember, type MemberRow } from '#worker/state/members.ts';
import { toNetworkSpec } from '#worker/state/networks.ts';
import { getOperation, operationToApi } from '#worker/state/operations.ts';
import { locationOf, requestorOf, spread } from './changes.ts';
import type { Authorized } from './context.ts';
import { placeElsewhere, planMove, stopTimeoutOf } from './instance-move.ts';
import { toInstanceSpec } from './instance-spec.ts';
import { profileLayers } from './instances.ts';
import { type ApiOperation, finishOperation, startOperation } from './operations.ts';
import { nameVolumeProjects } from './project-volumes.ts';

/** Throws 400 for what is no such request, 404 for no such member; "already" is the operation's own failure, as in LXD. */
export async function setMemberState(
  ctx: Authorized,
  name: string,
  { action, mode }: ClusterMemberStatePost,
): Promise<ApiOperation> {
  if (action !== 'evacuate' && action !== 'restore') throw badRequest(`Unknown action "${action.slice(0, 64)}"`);
  if (!EVACUATION_MODES.includes(mode)) throw badRequest(`Invalid evacuation mode "${mode.slice(0, 64)}"`);
  const member = await getMember(ctx.db, name);
  return action === 'evacuate' ? evacuate(ctx, member, mode) : restore(ctx, member);
}

type Work = Pick<StateChange, 'commands' | 'moving' | 'origins'> & { metadata?: Record<string, unknown> };

async function evacuate(ctx: Authorized, member: MemberRow, mode: string): Promise<ApiOperation> {
  const kind = { description: 'Evacuating cluster member', to: 'Evacuated' } as const;
  if (member.state === 'Evacuated') return refuse(ctx, member, kind);
  // What is on a host that is away stays there.
  const work = member.online ? await planEvacuation(ctx, member, mode) : NO_WORK;
  return begin(ctx, member, kind, work);
}

async function restore(ctx: Authorized, member: MemberRow): Promise<ApiOperation> {
  const kind = { description: 'Restoring cluster member', to: 'Created' } as const;
  if (member.state === 'Created') return refuse(ctx, member, kind);
  if (!member.online) throw unavailable(`Cluster member "${member.name}" is offline`);
  return begin(ctx, member, kind, await planRestoration(ctx, member));
}

interface Kind {
  description: string;
  to: StateChange['to'];
}

const NO_WORK: Work = { commands: [], moving: [], origins: [] };

const operationOf = (member: MemberRow, { description }: Kind) => ({
  project: '',
  class: 'task' as const,
  description,
  resources: null,
  mayCancel: false,
  location: member.name,
});

async function begin(ctx: Authorized, member: MemberRow, kind: Kind, work: Work): Promise<ApiOperation> {
  const { metadata = null, ...rest } = work;
  await nameVolumeProjects(ctx, work.commands);
  const operation = { ...operationOf(member, kind), id: ctx.newId(), metadata };
  const event = { location: locationOf(ctx), requestor: requestorOf(ctx.principal) };
  const { name } = member;
  const followup = await changeMemberState(ctx.db, {
    member: name,
    to: kind.to,
    operation,
    ...rest,
    event,
    now: ctx.now(),
  });
  // Another request was faster.
  if (followup === null) return refuse(ctx, member, kind);
  await spread(ctx, followup);
  return operationToApi(await getOperation(ctx.db, operation.id));
}

async function refuse(ctx: Authorized, member: MemberRow, kind: Kind): Promise<ApiOperation> {
  const operation = await startOperation(ctx, { operation: operationOf(member, kind), commands: [] });
  const err = `Cluster member is already ${kind.to === 'Evacuated' ? 'evacuated' : 'restored'}`;
  await finishOperation(ctx, operation.id, { status: FAILURE, err });
  return operation;
}

const isUp = ({ status }: InstanceRow) => status === 'Running' || status === 'Frozen';

/** Stopped and started for an evacuation. */
const changeState = (row: InstanceRow, profiles: readonly ProfileLayer[], action: 'start' | 'stop'): NewCommand => {
  const spec = toInstanceSpec(row, profiles);
  const timeoutSeconds = action === 'stop' ? stopTimeoutOf(spec.expandedConfig) : 0;
  const params = { spec, action, timeoutSeconds, force: false, evacuation: true };
  return { member: row.member, name: 'instance.state', params };
};

async function planEvacuation(ctx: Authorized, { name }: MemberRow, mode: string): Promise<Work> {
  const list = await listInstances(ctx.db, null);
  const layersOf = profileLayers(list);
  const { networks } = await loadPlaces(ctx.db, []);
  const isManaged = (network: string) => networks.some((row) => row.name === network);
  const stay: InstanceRow[] = [];
  const placed: Going[] = [];
  const kept: Record<string, string> = {};
  for (const row of list.rows) {
    if (row.member !== name || row.movingTo !== null) continue;
    const profiles = layersOf(row);
    const config = expandConfig(profiles, row.config);
    const action = evacuationAction(mode, config, expandDevices(profiles, row.devices), isManaged);
    const place = action === 'migrate' ? await findPlace(ctx, row, profiles) : null;
    if (place !== null && 'to' in place) placed.push({ row, profiles, to: place.to });
    else stay.push(row);
    if (place !== null && 'reason' in place) kept[labelOf(row)] = place.reason;
  }
  const places = await loadPlaces(ctx.db, [...new Set(placed.map(({ to }) => to))]);
  const go: Going[] = [];
  for (const each of placed) {
    const reason = refusalAt(each, places);
    if (reason === null) {
      go.push(each);
      continue;
    }
    ctx.log.warn('evacuate.place.refused', { instance: each.row.name, member: each.to, reason });
    stay.push(each.row);
    kept[labelOf(each.row)] = reason;
  }
  const running = stay.filter(isUp);
  const moves = go.map((each) =>
    planMove(ctx, { ...each, places }, { running: isUp(each.row), volatile: { [ORIGIN_KEY]: name }, evacuates: name }),
  );
  return {
    commands: [
      ...running.map((row) => changeState(row, layersOf(row), 'stop')),
      ...moves.flatMap(({ commands }) => commands),
    ],
    moving: go.map(({ row, to }) => ({ id: row.id, from: row.member, to })),
    origins: running.map(({ id }) => ({ id, origin: name })),
    ...(Object.keys(kept).length > 0 ? { metadata: { not_moved: kept } } : {}),
  };
}

interface Going {
  row: InstanceRow;
  profiles: ProfileLayer[];
  to: string;
}

/** As the operation's metadata names an instance: project and name. */
const labelOf = ({ project, name }: InstanceRow) => (project === 'default' ? name : `${project}/${name}`);

/** What the member would refuse about the instance's own addresses: one refusal there would end the whole evacuation. */
function refusalAt({ row, profiles, to }: Going, { networks, networkMembers }: Places): string | null {
  return addressRefusal(expandDevices(profiles, row.devices), (name) => {
    const network = networks.find((one) => one.name === name);
    const own = networkMembers.find((one) => one.network === name && one.member === to);
    return network && toNetworkSpec(network, own?.config ?? {}).config;
  });
}

/** As in LXD, an instance that no member can take is stopped where it is. */
async function findPlace(
  ctx: Authorized,
  row: InstanceRow,
  profiles: ProfileLayer[],
): Promise<{ to: string } | { reason: string }> {
  try {
    return { to: (await placeElsewhere(ctx, row, profiles, null)).member };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    ctx.log.warn('evacuate.place.none', { instance: row.name, reason: error.message });
    return { reason: error.message };
  }
}

async function planRestoration(ctx: Authorized, { name }: MemberRow): Promise<Work> {
  const list = await listInstances(ctx.db, null);
  const layersOf = profileLayers(list);
  const online = new Set(list.members.filter((member) => member.online).map((member) => member.name));
  const gone = list.rows.filter((row) => row.config[ORIGIN_KEY] === name && row.movingTo === null);
  const here = gone.filter((row) => row.member === name);
  const back = gone.filter((row) => row.member !== name && online.has(row.member));
  const unreachable = gone.filter((row) => row.member !== name && !online.has(row.member));
  const places = await loadPlaces(ctx.db, [name]);
  const moves = back.map((row) =>
    planMove(
      ctx,
      { row, profiles: layersOf(row), to: name, places },
      { running: isUp(row), volatile: { [ORIGIN_KEY]: '' }, evacuates: null },
    ),
  );
  return {
    commands: [
      ...here.filter(({ status }) => status === 'Stopped').map((row) => changeState(row, layersOf(row), 'start')),
      ...moves.flatMap(({ commands }) => commands),
    ],
    moving: back.map(({ id, member }) => ({ id, from: member, to: name })),
    origins: here.map(({ id }) => ({ id, origin: null })),
    ...(unreachable.length > 0 ? { metadata: { unreachable: unreachable.map((row) => row.name) } } : {}),
  };
}
