/** Storage pools: what they are, changing and removing them, and how full they are. Creation is in `storage-pool-create.ts`. */
import { badRequest, notFound, unavailable } from '#protocol/errors.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { Config } from '#worker/domain/config.ts';
import { checkPoolConfig, isPoolMemberKey, POOL_FIXED_KEYS, splitPoolConfig } from '#worker/domain/pool-config.ts';
import { listMembers } from '#worker/state/members.ts';
import {
  deletePool,
  deletePoolMember,
  findPoolWithMembers,
  isOnlyDefined,
  listPools,
  listPoolUsers,
  type PoolMemberRow,
  type PoolUser,
  type PoolWithMembers,
  toPoolSpec,
  updatePool,
  updatePoolMember,
} from '#worker/state/pools.ts';
import { lifecycle } from './changes.ts';
import type { Authorized } from './context.ts';
import { byPresence, resourceUrl, runOnMembers, sameConfig, withoutEmpty } from './member-work.ts';

/** LXD's storage pool object. */
export interface ApiPool {
  config: Config;
  description: string;
  name: string;
  driver: string;
  used_by: string[];
  status: string;
  locations: string[];
}

/** By kind and name: the members' copies of the images that instances were cloned from, instances, profiles, custom volumes. */
function usedBy(users: readonly PoolUser[]): string[] {
  const images = users.flatMap(({ baseImage, member }) =>
    baseImage === null || member === null ? [] : [`/1.0/images/${baseImage}?target=${encodeURIComponent(member)}`],
  );
  const others = users.map(({ pool, kind, name, project, member }) => {
    if (kind !== 'volume') return resourceUrl(kind === 'instance' ? 'instances' : 'profiles', name, project);
    const url = resourceUrl(`storage-pools/${encodeURIComponent(pool)}/volumes/custom`, name, project);
    return `${url}${url.includes('?') ? '&' : '?'}target=${encodeURIComponent(member ?? '')}`;
  });
  return [...new Set(images), ...others].sort();
}

function toApi(ctx: Authorized, pool: PoolWithMembers, users: PoolUser[], member: PoolMemberRow | null): ApiPool {
  const { projects } = ctx.principal;
  return {
    config: member === null ? pool.config : { ...pool.config, ...member.config },
    description: pool.description,
    name: pool.name,
    driver: pool.driver,
    used_by: usedBy(
      users.filter(
        (user) =>
          user.pool === pool.name &&
          (projects === null || projects.includes(user.project)) &&
          (member === null || user.member === null || user.member === member.member),
      ),
    ),
    status: member === null ? pool.status : member.status,
    locations: pool.members.map((row) => row.member),
  };
}

/** All pools by name, member-specific keys hidden. */
export async function getPools(ctx: Authorized): Promise<ApiPool[]> {
  const [pools, users] = await Promise.all([listPools(ctx.db), listPoolUsers(ctx.db, null)]);
  return pools.map((pool) => toApi(ctx, pool, users, null));
}

/** One pool; with a target as that member has it. Throws `not_found`. */
export async function getPool(ctx: Authorized, name: string, target: string | null): Promise<ApiPool> {
  const [pool, users] = await Promise.all([getWithMembers(ctx, name), listPoolUsers(ctx.db, name)]);
  return toApi(ctx, pool, users, target === null ? null : await getPart(ctx, pool, target));
}

async function getWithMembers(ctx: Authorized, name: string): Promise<PoolWithMembers> {
  const pool = await findPoolWithMembers(ctx.db, name);
  if (!pool) throw notFound('Storage pool');
  return pool;
}

async function getPart(ctx: Authorized, pool: PoolWithMembers, target: string): Promise<PoolMemberRow> {
  const part = pool.members.find((row) => row.member === target);
  if (part) return part;
  const members = await listMembers(ctx.db);
  throw notFound(members.some((member) => member.name === target) ? 'Storage pool' : 'Cluster member');
}

export interface PoolChange {
  /** Undefined: as it is. */
  description: string | undefined;
  config: Config;
  /** PATCH: keys that are not named stay. */
  merge: boolean;
}

/** A change of the cluster's keys, or with a target of that member's own. Throws LXD's refusals. */
export async function changePool(
  ctx: Authorized,
  name: string,
  change: PoolChange,
  target: string | null,
): Promise<void> {
  const [pool, members] = await Promise.all([getWithMembers(ctx, name), listMembers(ctx.db)]);
  const part = target === null ? null : await getPart(ctx, pool, target);
  const current = part === null ? pool.config : { ...pool.config, ...part.config };
  const wanted = withoutEmpty(change.merge ? { ...current, ...change.config } : change.config);
  const refusal = checkPoolConfig(pool.driver, wanted);
  if (refusal !== null) throw badRequest(refusal);

  const config = part === null ? clusterKeys(wanted) : memberKeys(pool, part, wanted);
  const description = change.description ?? pool.description;
  const same = sameConfig(config, part === null ? pool.config : part.config);
  const changed = part === null ? { ...pool, config } : pool;
  const told = same ? [] : (part === null ? pool.members : [{ ...part, config }]).filter((row) => !isOnlyDefined(row));
  const commands = told.map((row) => ({
    member: row.member,
    name: 'pool.update' as const,
    params: { pool: toPoolSpec(changed, row.config), ...sizeChange(part, config) },
  }));
  await runOnMembers(ctx, {
    description: 'Updating storage pool',
    writes: [
      updatePool(ctx.db, name, part === null ? { description, config } : { description }),
      ...(part === null ? [] : [updatePoolMember(ctx.db, name, part.member, { config })]),
    ],
    ...byPresence(commands, members),
    announcement: lifecycle(ctx, 'storage-pool-updated', `/1.0/storage-pools/${name}`, 'default'),
  });
}

/** What a refused new size goes back to. */
function sizeChange(part: PoolMemberRow | null, config: Config): { sizeBefore?: string | null } {
  return part === null || part.config.size === config.size ? {} : { sizeBefore: part.config.size ?? null };
}

function clusterKeys(wanted: Config): Config {
  const own = Object.keys(wanted).find(isPoolMemberKey);
  if (own !== undefined) throw badRequest(`Config key "${own}" is cluster member specific`);
  return wanted;
}

/** The member's keys of `wanted`; the cluster's may be repeated, not changed. What places the data stays. */
function memberKeys(pool: PoolWithMembers, part: PoolMemberRow, wanted: Config): Config {
  const { member, cluster } = splitPoolConfig(wanted);
  const foreign = Object.keys(cluster).find((key) => cluster[key] !== pool.config[key]);
  if (foreign !== undefined) throw badRequest(`Config key "${foreign}" may not be used as member-specific key`);
  if (part.status !== 'Created') return member;
  const moved = POOL_FIXED_KEYS.find((key) => member[key] !== undefined && member[key] !== part.config[key]);
  if (moved !== undefined) throw badRequest(`Pool ${moved} cannot be changed when not in pending state`);
  const { size } = part.config;
  if (member.size !== undefined && (parseSizeBytes(member.size) ?? 0) < (parseSizeBytes(size ?? '') ?? 0)) {
    throw badRequest('The storage pool cannot be made smaller');
  }
  // A size that is left out stays as well: the pool has one.
  const fixed = member.size === undefined ? [...POOL_FIXED_KEYS, 'size'] : POOL_FIXED_KEYS;
  const kept = Object.entries(part.config).filter(([key]) => fixed.includes(key));
  return { ...member, ...Object.fromEntries(kept) };
}

/** Removes the pool from every member that may have it; those that are away do it on their return. Throws `bad_request` when in use. */
export async function removePool(ctx: Authorized, name: string): Promise<void> {
  const [pool, members, users] = await Promise.all([
    getWithMembers(ctx, name),
    listMembers(ctx.db),
    listPoolUsers(ctx.db, name),
  ]);
  if (users.length > 0) throw badRequest('The storage pool is currently in use');
  const known = new Set(members.map((member) => member.name));
  const holders = pool.members.filter((row) => !isOnlyDefined(row) && known.has(row.member));
  const others = pool.members.filter((row) => !holders.includes(row));
  const commands = holders.map((row) => ({
    member: row.member,
    name: 'pool.delete' as const,
    params: { pool: toPoolSpec(pool, row.config) },
  }));
  const work = byPresence(commands, members);
  await runOnMembers(ctx, {
    description: 'Deleting storage pool',
    // With somebody to wait for, the rows go as the members confirm.
    writes:
      work.now.length === 0
        ? deletePool(ctx.db, name)
        : others.map((row) => deletePoolMember(ctx.db, name, row.member)),
    ...work,
    announcement: lifecycle(ctx, 'storage-pool-deleted', `/1.0/storage-pools/${name}`, 'default'),
  });
}

/** How full the pool is on the target, the caller's own member, or the first one that is there. */
export async function getPoolResources(ctx: Authorized, name: string, target: string | null) {
  const [pool, members] = await Promise.all([getWithMembers(ctx, name), listMembers(ctx.db)]);
  if (target !== null) await getPart(ctx, pool, target);
  const there = pool.members
    .filter((row) => members.some((member) => member.name === row.member && member.online))
    .map((row) => row.member);
  const local = ctx.principal.member;
  const member = target ?? (local !== null && there.includes(local) ? local : there[0]);
  if (member === undefined) throw unavailable(`No cluster member with storage pool "${name}" is online`);
  const { space, inodes } = await ctx.objects.links.query(member, 'pool.resources', { pool: name });
  return {
    space: { used: space.usedBytes, total: space.totalBytes },
    inodes: { used: inodes.used, total: inodes.total },
  };
}
