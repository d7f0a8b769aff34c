/** Networks: managed ones and the interfaces of hosts, changing, removing, state and leases. Creation is in `network-create.ts`. */
import { AppError, badRequest, notFound, unavailable } from '#protocol/errors.ts';
import type { Lease } from '#protocol/queries.ts';
import type { Config } from '#worker/domain/config.ts';
import {
  ADDRESS_KEYS,
  checkNetworkConfig,
  isNetworkMemberKey,
  mergeNetworkConfig,
  splitNetworkConfig,
} from '#worker/domain/network-config.ts';
import { pickForMembers } from '#worker/domain/subnets.ts';
import { listMembers, type MemberRow } from '#worker/state/members.ts';
import {
  addressesOf,
  deleteNetwork,
  deleteNetworkMember,
  findNetworkWithMembers,
  listNetworkAddresses,
  listNetworks,
  listNetworkUsers,
  type NetworkMemberRow,
  type NetworkUser,
  type NetworkWithMembers,
  toNetworkSpec,
  updateNetwork,
  updateNetworkMember,
} from '#worker/state/networks.ts';
import { isOnlyDefined } from '#worker/state/pools.ts';
import { lifecycle } from './changes.ts';
import type { Authorized } from './context.ts';
import { byPresence, resourceUrl, runOnMembers, sameConfig, withoutEmpty } from './member-work.ts';

/** LXD's network object. */
export interface ApiNetwork {
  config: Config;
  description: string;
  name: string;
  type: string;
  used_by: string[];
  managed: boolean;
  status: string;
  locations: string[] | null;
}

/** A member that does not answer in time is left out of the leases: one silent host must not stop the list. */
const LEASES_TIMEOUT_MS = 2_000;

const userUrl = (user: NetworkUser) =>
  resourceUrl(user.kind === 'instance' ? 'instances' : 'profiles', user.name, user.project);

function usedBy(ctx: Authorized, name: string, users: NetworkUser[]): string[] {
  const { projects } = ctx.principal;
  return users
    .filter((user) => user.network === name && (projects === null || projects.includes(user.project)))
    .map(userUrl);
}

const toApi = (
  ctx: Authorized,
  network: NetworkWithMembers,
  users: NetworkUser[],
  part: NetworkMemberRow | null,
): ApiNetwork => ({
  config: part === null ? network.config : mergeNetworkConfig(network.config, part.config),
  description: network.description,
  name: network.name,
  type: network.type,
  used_by: usedBy(ctx, network.name, users),
  managed: true,
  status: part === null ? network.status : part.status,
  locations: network.members.map((row) => row.member),
});

type Interface = MemberRow['resources']['interfaces'][number];

const unmanaged = (ctx: Authorized, { name, type }: Interface, users: NetworkUser[]): ApiNetwork => ({
  config: {},
  description: '',
  name,
  type,
  used_by: usedBy(ctx, name, users),
  managed: false,
  status: '',
  locations: null,
});

/** The interfaces of the target, of the caller's own member, or those that all members have. */
function interfacesOf(ctx: Authorized, members: MemberRow[], target: string | null): Interface[] {
  const name = target ?? ctx.principal.member;
  if (name !== null) return getMemberOf(members, name).resources.interfaces;
  const [first, ...rest] = members;
  return (first?.resources.interfaces ?? []).filter((face) =>
    rest.every((member) => member.resources.interfaces.some((other) => other.name === face.name)),
  );
}

function getMemberOf(members: MemberRow[], name: string): MemberRow {
  const member = members.find((row) => row.name === name);
  if (!member) throw notFound('Cluster member');
  return member;
}

/** Managed networks by name, then interfaces of hosts. */
export async function getNetworks(ctx: Authorized, target: string | null): Promise<ApiNetwork[]> {
  const [networks, members, users] = await Promise.all([
    listNetworks(ctx.db),
    listMembers(ctx.db),
    listNetworkUsers(ctx.db, null),
  ]);
  const faces = interfacesOf(ctx, members, target).filter((face) => !networks.some(({ name }) => name === face.name));
  return [
    ...networks.map((network) => toApi(ctx, network, users, null)),
    ...faces.map((face) => unmanaged(ctx, face, users)),
  ];
}

/** One network or interface; with a target as that member has it. Throws `not_found`. */
export async function getNetwork(ctx: Authorized, name: string, target: string | null): Promise<ApiNetwork> {
  const [network, members, users] = await Promise.all([
    findNetworkWithMembers(ctx.db, name),
    listMembers(ctx.db),
    listNetworkUsers(ctx.db, name),
  ]);
  if (network) return toApi(ctx, network, users, target === null ? null : getPart(network, members, target));
  const face = (target === null ? members : [getMemberOf(members, target)])
    .flatMap((member) => member.resources.interfaces)
    .find((item) => item.name === name);
  if (!face) throw notFound('Network');
  return unmanaged(ctx, face, users);
}

async function getManaged(ctx: Authorized, name: string): Promise<NetworkWithMembers> {
  const network = await findNetworkWithMembers(ctx.db, name);
  if (!network) throw new AppError('not_found', 'Failed loading network: Network not found');
  return network;
}

function getPart(network: NetworkWithMembers, members: MemberRow[], target: string): NetworkMemberRow {
  getMemberOf(members, target);
  const part = network.members.find((row) => row.member === target);
  if (!part) throw notFound('Network');
  return part;
}

export interface NetworkChange {
  /** Undefined: as it is. */
  description: string | undefined;
  config: Config;
  /** PATCH: keys that are not named stay. */
  merge: boolean;
}

/** A change of the cluster's keys, or with a target of that member's own. Throws LXD's refusals. */
export async function changeNetwork(
  ctx: Authorized,
  name: string,
  change: NetworkChange,
  target: string | null,
): Promise<void> {
  const [network, members, taken] = await Promise.all([
    getManaged(ctx, name),
    listMembers(ctx.db),
    listNetworkAddresses(ctx.db, name),
  ]);
  const part = target === null ? null : getPart(network, members, target);
  const current = part === null ? network.config : mergeNetworkConfig(network.config, part.config);
  const wanted = withoutEmpty(change.merge ? { ...current, ...change.config } : change.config);
  const refusal = checkNetworkConfig(name, wanted);
  if (refusal !== null) throw badRequest(refusal);

  const config = part === null ? clusterKeys(wanted) : network.config;
  const parts =
    part === null
      ? withAddresses(network, config, members, taken)
      : [{ ...part, config: memberKeys(part, current, wanted) }];
  const description = change.description ?? network.description;
  const same = part === null ? sameConfig(config, network.config) : sameConfig(parts[0]?.config ?? {}, part.config);
  const told = same ? [] : parts.filter((row) => !isOnlyDefined(row));
  const commands = told.map((row) => ({
    member: row.member,
    name: 'network.update' as const,
    params: { network: toNetworkSpec({ ...network, config, description }, row.config) },
  }));
  await runOnMembers(ctx, {
    description: 'Updating network',
    writes: [
      updateNetwork(ctx.db, name, { description, config }),
      ...(same ? [] : parts.map((row) => updateNetworkMember(ctx.db, name, row.member, { config: row.config }))),
    ],
    ...byPresence(commands, members),
    announcement: lifecycle(ctx, 'network-updated', `/1.0/networks/${name}`, 'default'),
  });
}

function clusterKeys(wanted: Config): Config {
  const own = Object.keys(wanted).find(isNetworkMemberKey);
  if (own !== undefined) throw badRequest(`Config key "${own}" is cluster member specific`);
  return wanted;
}

/** The member's keys of `wanted`; what else it shows may be repeated, not changed. Its resolved addresses stay. */
function memberKeys(part: NetworkMemberRow, current: Config, wanted: Config): Config {
  const { member, cluster } = splitNetworkConfig(wanted);
  const foreign = Object.keys(cluster).find((key) => cluster[key] !== current[key]);
  if (foreign !== undefined) throw badRequest(`Config key "${foreign}" may not be used as member-specific key`);
  const kept = Object.entries(part.config).filter(([key]) => !isNetworkMemberKey(key));
  return { ...Object.fromEntries(kept), ...member };
}

/** The members' rows for a new config: a resolved address goes when the key is no longer `auto`, and comes where it now is. */
function withAddresses(
  network: NetworkWithMembers,
  config: Config,
  members: MemberRow[],
  taken: string[],
): NetworkMemberRow[] {
  const hosts = members.flatMap((member) => member.resources.addresses);
  const own = network.members.flatMap((row) => addressesOf(row.config));
  const names = network.members.map((row) => row.member);
  const picks = pickForMembers(network.name, names, [...taken, ...own, ...hosts]);
  return network.members.map((row) => {
    const next: Config = { ...row.config };
    for (const key of ADDRESS_KEYS) {
      // What a member reported for a fixed address is no choice of its own.
      if (config[key] !== 'auto' || network.config[key] !== 'auto') delete next[key];
      // A member that is only defined is offered its subnet when it creates the network.
      if (config[key] === 'auto' && next[key] === undefined && row.status === 'Created') {
        const pick = picks.get(row.member)?.[key === 'ipv4.address' ? 'ipv4' : 'ipv6'];
        if (pick) next[key] = pick;
      }
    }
    return { ...row, config: next };
  });
}

/** Removes the network from every member that may have it; those that are away do it on their return. Throws `bad_request` when in use. */
export async function removeNetwork(ctx: Authorized, name: string): Promise<void> {
  const [network, members, users] = await Promise.all([
    getManaged(ctx, name),
    listMembers(ctx.db),
    listNetworkUsers(ctx.db, name),
  ]);
  if (users.length > 0) throw badRequest('The network is currently in use');
  const known = new Set(members.map((member) => member.name));
  const holders = network.members.filter((row) => !isOnlyDefined(row) && known.has(row.member));
  const others = network.members.filter((row) => !holders.includes(row));
  const commands = holders.map((row) => ({ member: row.member, name: 'network.delete' as const, params: { name } }));
  const work = byPresence(commands, members);
  await runOnMembers(ctx, {
    description: 'Deleting network',
    // With somebody to wait for, the rows go as the members confirm.
    writes:
      work.now.length === 0
        ? deleteNetwork(ctx.db, name)
        : others.map((row) => deleteNetworkMember(ctx.db, name, row.member)),
    ...work,
    announcement: lifecycle(ctx, 'network-deleted', `/1.0/networks/${name}`, 'default'),
  });
}

/** The interface as the target, the caller's own member, or the first one that has it and is there, sees it. */
export async function getNetworkState(
  ctx: Authorized,
  name: string,
  target: string | null,
): Promise<Record<string, unknown>> {
  const [network, members] = await Promise.all([findNetworkWithMembers(ctx.db, name), listMembers(ctx.db)]);
  if (target !== null) getMemberOf(members, target);
  const holders = members.filter((member) =>
    network
      ? network.members.some((row) => row.member === member.name)
      : member.resources.interfaces.some((face) => face.name === name),
  );
  if (holders.length === 0) throw new AppError('not_found', `Network interface "${name}" not found`);
  const there = holders.filter((member) => member.online).map((member) => member.name);
  const local = ctx.principal.member;
  const member = target ?? (local !== null && there.includes(local) ? local : there[0]);
  if (member === undefined) throw unavailable(`No cluster member with network "${name}" is online`);
  if (!holders.some((holder) => holder.name === member))
    throw new AppError('not_found', `Network interface "${name}" not found`);
  return ctx.objects.links.query(member, 'network.state', { network: name });
}

/** The leases of all members that are there and answer in time. The one read that asks hosts. */
export async function getLeases(ctx: Authorized, name: string): Promise<(Lease & { location: string })[]> {
  const { projects } = ctx.principal;
  const [network, members, users] = await Promise.all([
    getManaged(ctx, name),
    listMembers(ctx.db),
    projects === null ? [] : listNetworkUsers(ctx.db, name),
  ]);
  const asked = members.filter(
    (member) => member.online && network.members.some((row) => row.member === member.name && row.status === 'Created'),
  );
  const answers = await Promise.all(
    asked.map(async ({ name: location }) => {
      try {
        const { leases } = await ctx.objects.links.query(
          location,
          'network.leases',
          { network: name },
          LEASES_TIMEOUT_MS,
        );
        return leases.map((lease) => ({ ...lease, location }));
      } catch (error) {
        ctx.log.warn('network.leases.unanswered', { network: name, member: location }, error);
        return [];
      }
    }),
  );
  const all = answers.flat();
  if (projects === null) return all;
  // A restricted caller sees the leases of its own instances.
  const visible = new Set(
    users.filter((user) => user.kind === 'instance' && projects.includes(user.project)).map((user) => user.name),
  );
  return all.filter((lease) => lease.type === 'gateway' || visible.has(lease.hostname));
}
