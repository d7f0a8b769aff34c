/**
 * Creating networks (lxd-api 12.4): LXD's two phases, and one step for all members. Where the network says `auto`, each
 * member is offered a subnet of its own; it may take another when that one is in use there, and reports what it took.
 */

import type { NetworksPost } from '#protocol/api/network.ts';
import { AppError, badRequest, failed, notFound, unavailable } from '#protocol/errors.ts';
import { checkNetworkName } from '#protocol/names.ts';
import type { Config } from '#worker/domain/config.ts';
import {
  checkNetworkConfig,
  isNetworkMemberKey,
  splitNetworkConfig,
  withNetworkDefaults,
} from '#worker/domain/network-config.ts';
import { pickForMembers } from '#worker/domain/subnets.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { findMember, listMembers, type MemberRow } from '#worker/state/members.ts';
import {
  addressesOf,
  defineNetworkOnMember,
  findNetworkWithMembers,
  insertNetwork,
  listNetworkAddresses,
  type NetworkMemberRow,
  type NetworkRow,
  type NetworkWithMembers,
  putNetworkMember,
  toNetworkSpec,
  updateNetwork,
} from '#worker/state/networks.ts';
import { CREATING, isOnlyDefined } from '#worker/state/pools.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { byPresence, runOnMembers, sameConfig, withoutEmpty } from './member-work.ts';

const ALREADY_CREATED = 'The network is already created';

type Asked = { name: string; description: string; config: Config };

/** With a target the first phase there, else the creation everywhere. Throws LXD's refusals. */
export async function createNetwork(ctx: Authorized, body: NetworksPost, target: string | null): Promise<void> {
  const refusal = checkNetworkName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  if (body.type !== '' && body.type !== 'bridge') throw badRequest(`Network type "${body.type}" is not supported`);
  const asked = { ...body, config: withoutEmpty(body.config) };
  await (target === null ? createEverywhere(ctx, asked) : define(ctx, asked, target));
}

function checkConfig(name: string, config: Config): void {
  const refusal = checkNetworkConfig(name, config);
  if (refusal !== null) throw badRequest(refusal);
}

async function define(ctx: Authorized, asked: Asked, target: string): Promise<void> {
  const foreign = Object.keys(asked.config).find((key) => !isNetworkMemberKey(key));
  if (foreign !== undefined) throw badRequest(`Config key "${foreign}" may not be used as member-specific key`);
  checkConfig(asked.name, asked.config);
  const [member, network] = await Promise.all([findMember(ctx.db, target), findNetworkWithMembers(ctx.db, asked.name)]);
  if (!member) throw notFound('Cluster member');
  const alreadyDefined = badRequest(`The network is already defined on member "${target}"`);
  if (network) {
    if (isOrdered(network)) throw failed(ALREADY_CREATED);
    if (network.members.some((row) => row.member === target)) throw alreadyDefined;
  }
  checkInterfaces(asked.name, [member]);
  const { name, description } = asked;
  const row: NetworkRow = { name, type: 'bridge', description, config: {}, status: 'Pending' };
  try {
    await makeChange(ctx, { writes: defineNetworkOnMember(ctx.db, row, target, asked.config) });
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? alreadyDefined : error;
  }
}

/** The final call was made: members were told to create it. */
const isOrdered = (network: NetworkWithMembers) =>
  network.status !== 'Pending' || !network.members.every(isOnlyDefined);

/** An interface of that name that is not ours is never taken over. */
function checkInterfaces(name: string, members: MemberRow[]): void {
  const taken = members.some(({ resources }) => resources.interfaces.some((face) => face.name === name));
  if (taken) throw badRequest('The network already exists');
}

async function createEverywhere(ctx: Authorized, asked: Asked): Promise<void> {
  checkConfig(asked.name, asked.config);
  const [members, network, taken] = await Promise.all([
    listMembers(ctx.db),
    findNetworkWithMembers(ctx.db, asked.name),
    listNetworkAddresses(ctx.db, asked.name),
  ]);
  if (members.length === 0) throw unavailable('The cluster has no members yet');
  const names = members.map((member) => member.name);
  if (!network) checkInterfaces(asked.name, members);
  const { row, parts } = network ? finish(network, asked, names) : fresh(asked, names);
  const used = [...taken, ...(network?.members ?? []).flatMap(({ config }) => addressesOf(config))];
  const { name, ...fields } = row;
  try {
    await runOnMembers(ctx, {
      description: 'Creating network',
      writes: [
        network ? updateNetwork(ctx.db, name, fields) : insertNetwork(ctx.db, row),
        ...parts.map((part) => putNetworkMember(ctx.db, part)),
      ],
      ...byPresence(creationCommands(row, parts, members, used), members),
      announcement: lifecycle(ctx, 'network-created', `/1.0/networks/${name}`, 'default'),
    });
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? failed(ALREADY_CREATED) : error;
  }
}

/**
 * One `network.create` per member row. Where the network says `auto`, every member is offered a subnet of its own that
 * overlaps neither `taken` nor an address of a host.
 */
export function creationCommands(
  network: NetworkRow,
  parts: readonly NetworkMemberRow[],
  members: readonly MemberRow[],
  taken: readonly string[],
): NewCommand[] {
  const hosts = members.flatMap((member) => member.resources.addresses);
  const picks = pickForMembers(
    network.name,
    parts.map((part) => part.member),
    [...taken, ...hosts],
  );
  return parts.map(({ member, config }) => {
    const spec = toNetworkSpec(network, config);
    const pick = picks.get(member);
    return {
      member,
      name: 'network.create' as const,
      params: {
        network: spec,
        preferredIpv4: spec.config['ipv4.address'] === 'auto' ? (pick?.ipv4 ?? null) : null,
        preferredIpv6: spec.config['ipv6.address'] === 'auto' ? (pick?.ipv6 ?? null) : null,
      },
    };
  });
}

interface Creation {
  row: NetworkRow;
  /** The members that are still to create it. */
  parts: NetworkMemberRow[];
}

const ordered = (network: string, member: string, config: Config): NetworkMemberRow => ({
  network,
  member,
  config,
  status: 'Pending',
  message: CREATING,
});

/** One step: the member-specific keys hold for every member. */
function fresh(asked: Asked, members: string[]): Creation {
  const { member: own, cluster } = splitNetworkConfig(asked.config);
  const { name, description } = asked;
  return {
    row: { name, type: 'bridge', description, config: withNetworkDefaults(cluster), status: 'Pending' },
    parts: members.map((member) => ordered(name, member, own)),
  };
}

/** The second phase, or a repetition after a failure: then only the members that do not have it are asked again. */
function finish(network: NetworkWithMembers, asked: Asked, members: string[]): Creation {
  if (network.status === 'Created') throw failed(ALREADY_CREATED);
  const { member: own, cluster } = splitNetworkConfig(asked.config);
  const again = isOrdered(network);
  const missing = members.filter((name) => !network.members.some((row) => row.member === name));
  if (again) {
    const repeats = sameConfig(withNetworkDefaults(cluster), network.config);
    if (Object.keys(cluster).length > 0 && !repeats) throw failed(PARTIALLY_CREATED);
  } else {
    const [key] = Object.keys(own);
    if (key !== undefined) throw badRequest(`Config key "${key}" is cluster member specific`);
    if (missing.length > 0) throw failed(`Network not defined on nodes: ${missing.join(', ')}`);
  }
  const present = network.members.filter((row) => members.includes(row.member) && row.status !== 'Created');
  const parts = [
    ...present.map((row) => ordered(network.name, row.member, { ...row.config, ...own })),
    ...missing.map((member) => ordered(network.name, member, own)),
  ];
  const row: NetworkRow = {
    name: network.name,
    type: 'bridge',
    description: asked.description || network.description,
    config: again ? network.config : withNetworkDefaults(cluster),
    status: parts.length === 0 ? 'Created' : 'Pending',
  };
  return { row, parts };
}

const PARTIALLY_CREATED =
  'Network already partially created. Please do not specify any global config when re-running create';
