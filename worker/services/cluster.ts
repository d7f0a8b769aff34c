/** The cluster as a whole: always enabled; what a joiner must say for the pools and networks there are (lxd-api 5.3, 12.4). */
import type { ClusterPut } from '#protocol/api/cluster.ts';
import { badRequest } from '#protocol/errors.ts';
import type { JoinPlan } from '#protocol/join.ts';
import { listMembers } from '#worker/state/members.ts';
import { listNetworks } from '#worker/state/networks.ts';
import { listPools } from '#worker/state/pools.ts';
import type { Authorized } from './context.ts';

type MemberConfigQuestion = JoinPlan['memberConfig'][number];

/** Keys that a new member is asked for, by driver; optional ones are left out, as their default is what most want. */
const ASKED_POOL_KEYS = { zfs: ['source', 'size', 'zfs.pool_name'], btrfs: ['source', 'size'], dir: ['source'] };
const ASKED_NETWORK_KEYS = ['bridge.external_interfaces'];

export async function describeCluster(ctx: Authorized) {
  const [members, pools, networks] = await Promise.all([listMembers(ctx.db), listPools(ctx.db), listNetworks(ctx.db)]);
  return {
    server_name: ctx.principal.member ?? members.find(({ online }) => online)?.name ?? members.at(0)?.name ?? '',
    enabled: true,
    member_config: questionsFor(pools, networks),
  };
}

/** One question for each key of which the members of a pool or network have values of their own. */
export function questionsFor(
  pools: Awaited<ReturnType<typeof listPools>>,
  networks: Awaited<ReturnType<typeof listNetworks>>,
): MemberConfigQuestion[] {
  const entry = (entity: 'storage-pool' | 'network', name: string, key: string) => ({
    entity,
    name,
    key,
    value: '',
    description: `"${key}" property for ${entity.replace('-', ' ')} "${name}"`,
  });
  return [
    ...pools
      .filter(({ status }) => status === 'Created')
      .flatMap(({ name, driver, members: rows }) =>
        ASKED_POOL_KEYS[driver]
          .filter((key) => key === 'source' || rows.some(({ config }) => config[key] !== undefined))
          .map((key) => entry('storage-pool', name, key)),
      ),
    ...networks
      .filter(({ status }) => status === 'Created')
      .flatMap(({ name, members: rows }) =>
        ASKED_NETWORK_KEYS.filter((key) => rows.some(({ config }) => config[key] !== undefined)).map((key) =>
          entry('network', name, key),
        ),
      ),
  ];
}

/** Bootstrapping and leaving make no sense for a control plane that is a cluster always; hosts join by their agent. */
export function refuseClusterChange(body: ClusterPut): never {
  if (body.enabled && body.server_name === '') {
    throw badRequest('ServerName is required when enabling clustering');
  }
  if (body.enabled) throw badRequest('This server is already clustered');
  if (body.server_name !== '') throw badRequest('ServerName must be empty when disabling clustering');
  throw badRequest('Clustering cannot be disabled: remove members with "lxc cluster remove"');
}
