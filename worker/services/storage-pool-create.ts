/**
 * Creating storage pools (lxd-api 12.4): LXD's two phases, and one step for all members. A pool row is `Pending` until the
 * members that are there have it; results move it on (`state/resource-status.ts`).
 */

import type { StoragePoolsPost } from '#protocol/api/storage-pool.ts';
import { AppError, badRequest, failed, notFound, unavailable } from '#protocol/errors.ts';
import { checkPoolName } from '#protocol/names.ts';
import type { Config } from '#worker/domain/config.ts';
import {
  checkPoolConfig,
  isPoolDriver,
  isPoolMemberKey,
  POOL_DRIVERS,
  type PoolDriver,
  splitPoolConfig,
} from '#worker/domain/pool-config.ts';
import { findMember, listMembers } from '#worker/state/members.ts';
import {
  CREATING,
  definePoolOnMember,
  findPoolWithMembers,
  insertPool,
  isOnlyDefined,
  type PoolMemberRow,
  type PoolRow,
  type PoolWithMembers,
  putPoolMember,
  toPoolSpec,
  updatePool,
} from '#worker/state/pools.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { byPresence, runOnMembers, sameConfig, withoutEmpty } from './member-work.ts';

const ALREADY_CREATED = 'The storage pool is already created';

/** With a target the first phase there, else the creation everywhere. Throws LXD's refusals. */
export async function createPool(ctx: Authorized, body: StoragePoolsPost, target: string | null): Promise<void> {
  const refusal = checkPoolName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  const { driver } = body;
  if (driver === '') throw badRequest('No driver provided');
  if (!isPoolDriver(driver)) {
    throw badRequest(`Storage driver "${driver}" is not supported (use one of: ${POOL_DRIVERS.join(', ')})`);
  }
  const asked = { ...body, driver, config: withoutEmpty(body.config) };
  await (target === null ? createEverywhere(ctx, asked) : define(ctx, asked, target));
}

type Asked = { name: string; driver: PoolDriver; description: string; config: Config };

function checkConfig(driver: PoolDriver, config: Config): void {
  const refusal = checkPoolConfig(driver, config);
  if (refusal !== null) throw badRequest(refusal);
}

async function define(ctx: Authorized, asked: Asked, target: string): Promise<void> {
  const foreign = Object.keys(asked.config).find((key) => !isPoolMemberKey(key));
  if (foreign !== undefined) throw failed(`Config key "${foreign}" may not be used as member-specific key`);
  checkConfig(asked.driver, asked.config);
  const [member, pool] = await Promise.all([findMember(ctx.db, target), findPoolWithMembers(ctx.db, asked.name)]);
  if (!member) throw notFound('Cluster member');
  const alreadyDefined = badRequest(`The storage pool already defined on member "${target}"`);
  if (pool) {
    if (isOrdered(pool)) throw failed(ALREADY_CREATED);
    checkDriver(pool, asked);
    if (pool.members.some((row) => row.member === target)) throw alreadyDefined;
  }
  const row: PoolRow = {
    name: asked.name,
    driver: asked.driver,
    description: asked.description,
    config: {},
    status: 'Pending',
  };
  try {
    await makeChange(ctx, { writes: definePoolOnMember(ctx.db, row, target, asked.config) });
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? alreadyDefined : error;
  }
}

/** The final call was made: members were told to create it. */
const isOrdered = (pool: PoolWithMembers) => pool.status !== 'Pending' || !pool.members.every(isOnlyDefined);

function checkDriver(pool: PoolRow, asked: Asked): void {
  if (pool.driver !== asked.driver) throw badRequest('Storage pool already exists with a different driver');
}

async function createEverywhere(ctx: Authorized, asked: Asked): Promise<void> {
  checkConfig(asked.driver, asked.config);
  const [members, pool] = await Promise.all([listMembers(ctx.db), findPoolWithMembers(ctx.db, asked.name)]);
  if (members.length === 0) throw unavailable('The cluster has no members yet');
  const names = members.map((member) => member.name);
  const { row, parts } = pool ? finish(pool, asked, names) : fresh(asked, names);
  const commands = parts.map(({ member, config }) => ({
    member,
    name: 'pool.create' as const,
    params: { pool: toPoolSpec(row, config) },
  }));
  const { name, ...fields } = row;
  try {
    await runOnMembers(ctx, {
      description: 'Creating storage pool',
      writes: [
        pool ? updatePool(ctx.db, name, fields) : insertPool(ctx.db, row),
        ...parts.map((part) => putPoolMember(ctx.db, part)),
      ],
      ...byPresence(commands, members),
      announcement: lifecycle(ctx, 'storage-pool-created', `/1.0/storage-pools/${name}`, 'default'),
    });
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? failed(ALREADY_CREATED) : error;
  }
}

interface Creation {
  row: PoolRow;
  /** The members that are still to create it. */
  parts: PoolMemberRow[];
}

const ordered = (pool: string, member: string, config: Config): PoolMemberRow => ({
  pool,
  member,
  config,
  status: 'Pending',
  message: CREATING,
});

/** One step: the member-specific keys hold for every member. */
function fresh(asked: Asked, members: string[]): Creation {
  const { member: own, cluster } = splitPoolConfig(asked.config);
  const { name, driver, description } = asked;
  return {
    row: { name, driver, description, config: cluster, status: 'Pending' },
    parts: members.map((member) => ordered(name, member, own)),
  };
}

/** The second phase, or a repetition after a failure: then only the members that do not have it are asked again. */
function finish(pool: PoolWithMembers, asked: Asked, members: string[]): Creation {
  if (pool.status === 'Created') throw failed(ALREADY_CREATED);
  checkDriver(pool, asked);
  const { member: own, cluster } = splitPoolConfig(asked.config);
  const again = isOrdered(pool);
  const missing = members.filter((name) => !pool.members.some((row) => row.member === name));
  if (again) {
    if (Object.keys(cluster).length > 0 && !sameConfig(cluster, pool.config)) throw failed(PARTIALLY_CREATED);
  } else {
    const [key] = Object.keys(own);
    if (key !== undefined) throw badRequest(`Config key "${key}" is cluster member specific`);
    if (missing.length > 0) throw failed(`Pool not defined on nodes: ${missing.join(', ')}`);
  }
  const present = pool.members.filter((row) => members.includes(row.member) && row.status !== 'Created');
  const parts = [
    ...present.map((row) => ordered(pool.name, row.member, { ...row.config, ...own })),
    ...missing.map((member) => ordered(pool.name, member, own)),
  ];
  const row: PoolRow = {
    name: pool.name,
    driver: pool.driver,
    description: asked.description || pool.description,
    config: again ? pool.config : cluster,
    status: parts.length === 0 ? 'Created' : 'Pending',
  };
  return { row, parts };
}

const PARTIALLY_CREATED =
  'Storage pool already partially created. Please do not specify any global config when re-running create';
