/** A host becomes a member by its token (design 5). */
import { AppError, badRequest, conflict, forbidden } from '#protocol/errors.ts';
import type { JoinPlan, JoinPlanRequest, JoinRequest } from '#protocol/join.ts';
import type { Config } from '#worker/domain/config.ts';
import { checkNetworkConfig, isNetworkMemberKey, mergeNetworkConfig } from '#worker/domain/network-config.ts';
import { checkPoolConfig, isPoolMemberKey } from '#worker/domain/pool-config.ts';
import { pickSubnets } from '#worker/domain/subnets.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import { type Admission, admitMember } from '#worker/state/join.ts';
import { findMember, listMembers } from '#worker/state/members.ts';
import { listNetworks } from '#worker/state/networks.ts';
import { listPools } from '#worker/state/pools.ts';
import { findToken, type TokenRow } from '#worker/state/tokens.ts';
import { spread } from './changes.ts';
import { questionsFor } from './cluster.ts';
import type { Context } from './context.ts';

type Join = Pick<
  JoinRequest,
  'secret' | 'serverName' | 'publicKey' | 'version' | 'protocol' | 'resources' | 'memberConfig'
>;

const UNKNOWN = 'No matching cluster join operation found';

/**
 * Uses up the token and records the member, with its share of all pools and networks, in one batch. The same key may come
 * again with the same token and gets the same answer. Everything else is refused with 403 or 409 and changes nothing.
 */
export async function consumeJoinToken(ctx: Context, join: Join): Promise<{ member: string }> {
  const secretHash = await sha256Hex(join.secret);
  const token = await findToken(ctx.db, 'join', secretHash);
  if (token === undefined) throw forbidden(UNKNOWN);
  if (await isRepeat(ctx, token, join)) return { member: token.name };
  await checkToken(ctx, token, join);
  try {
    const { admitted, ...followup } = await admitMember(ctx.db, await planAdmission(ctx, token, join));
    if (!admitted) throw forbidden(UNKNOWN);
    await spread(ctx, followup);
  } catch (error) {
    if (!(error instanceof AppError && error.code === 'conflict')) throw error;
    // Two attempts of one joiner at the same moment: the other one won.
    const again = await findToken(ctx.db, 'join', secretHash);
    if (again === undefined || !(await isRepeat(ctx, again, join))) {
      throw conflict('This host’s key belongs to a member already: join with a new one', error);
    }
  }
  return { member: token.name };
}

/**
 * What a join with this token would bring the host, for the one who holds it. Uses nothing up; refuses as the join itself
 * would, so that a host that cannot join learns it before anything is changed there.
 */
export async function planJoin(ctx: Context, request: JoinPlanRequest): Promise<JoinPlan> {
  const token = await findToken(ctx.db, 'join', await sha256Hex(request.secret));
  if (token === undefined) throw forbidden(UNKNOWN);
  const joined = await isRepeat(ctx, token, request);
  if (!joined) await checkToken(ctx, token, request);
  const [members, pools, networks] = await Promise.all([listMembers(ctx.db), listPools(ctx.db), listNetworks(ctx.db)]);
  const made = ({ status }: { status: string }) => status === 'Created';
  return {
    joined,
    members: members.length,
    pools: pools.filter(made).map(({ name, driver, config }) => ({ name, driver, config })),
    networks: networks.filter(made).map(({ name, type, config }) => ({ name, type, config })),
    memberConfig: questionsFor(pools, networks),
  };
}

type Presented = Pick<JoinRequest, 'serverName' | 'publicKey'>;

async function isRepeat(ctx: Context, token: TokenRow, join: Presented): Promise<boolean> {
  if (token.usedAt === null || token.usedBy !== join.publicKey || token.name !== join.serverName) return false;
  return (await findMember(ctx.db, token.name))?.publicKey === join.publicKey;
}

async function checkToken(ctx: Context, token: TokenRow & { running: boolean }, join: Presented): Promise<void> {
  if (token.usedAt !== null) throw forbidden(UNKNOWN);
  if (token.expiresAt !== null && token.expiresAt <= ctx.now()) {
    throw forbidden(`The join token for member "${token.name}" has expired`);
  }
  if (!token.running) throw forbidden(UNKNOWN);
  if (token.name !== join.serverName) throw forbidden(`The join token is for member "${token.name}"`);
  if ((await findMember(ctx.db, token.name)) !== undefined) {
    throw conflict(`The cluster already has a member with name: ${token.name}`);
  }
}

async function planAdmission(ctx: Context, token: TokenRow, join: Join): Promise<Admission> {
  const [pools, networks] = await Promise.all([listPools(ctx.db), listNetworks(ctx.db)]);
  const given = groupConfig(join.memberConfig ?? []);
  const taken = networks.flatMap(({ config, members }) =>
    [config, ...members.map((member) => member.config)].flatMap((keys) =>
      [keys['ipv4.address'], keys['ipv6.address']].filter((address) => address !== undefined),
    ),
  );
  return {
    operationId: token.operationId,
    member: token.name,
    publicKey: join.publicKey,
    version: join.version,
    protocol: join.protocol,
    resources: join.resources,
    pools: pools
      .filter((pool) => pool.status === 'Created')
      .map((pool) => {
        const memberConfig = given('storage-pool', pool.name, isPoolMemberKey);
        const config = { ...pool.config, ...memberConfig };
        const refusal = checkPoolConfig(pool.driver, config);
        if (refusal !== null) throw badRequest(`Storage pool "${pool.name}": ${refusal}`);
        return { spec: { name: pool.name, driver: pool.driver, config }, memberConfig };
      }),
    networks: networks
      .filter((network) => network.status === 'Created')
      .map((network) => {
        const memberConfig = given('network', network.name, isNetworkMemberKey);
        const config = mergeNetworkConfig(network.config, memberConfig);
        const refusal = checkNetworkConfig(network.name, config);
        if (refusal !== null) throw badRequest(`Network "${network.name}": ${refusal}`);
        const { name, type, description } = network;
        const subnets = pickSubnets(name, token.name, taken);
        taken.push(...(subnets.ipv4 === null ? [] : [subnets.ipv4]), subnets.ipv6);
        const preferred = {
          preferredIpv4: config['ipv4.address'] === 'auto' ? subnets.ipv4 : null,
          preferredIpv6: config['ipv6.address'] === 'auto' ? subnets.ipv6 : null,
        };
        return { spec: { name, type, description, config }, memberConfig, ...preferred };
      }),
    now: ctx.now(),
  };
}

/** Throws 400 for a key that is not a member's own. Empty values leave the driver's default. */
function groupConfig(entries: NonNullable<Join['memberConfig']>) {
  return (entity: 'storage-pool' | 'network', name: string, isMemberKey: (key: string) => boolean): Config => {
    const own = entries.filter((entry) => entry.entity === entity && entry.name === name);
    for (const { key } of own) {
      if (!isMemberKey(key)) throw badRequest(`Config key "${key}" is not member-specific`);
    }
    return Object.fromEntries(own.filter(({ value }) => value !== '').map(({ key, value }) => [key, value]));
  };
}
