/** Cluster members as users see and change them (lxd-api 5.3, 12.1). Joining is in `join.ts`, removal in `member-remove.ts`. */
import type { ClusterMemberPatch, ClusterMemberPut } from '#protocol/api/cluster.ts';
import { badRequest, conflict, failed, notFound } from '#protocol/errors.ts';
import { checkMemberName } from '#protocol/names.ts';
import { dropEmpty } from '#worker/domain/instance-config.ts';
import { checkMemberConfig, checkRoles, memberStatus } from '#worker/domain/member.ts';
import { listClusterGroups } from '#worker/state/cluster-groups.ts';
import { renameMember as moveToName } from '#worker/state/member-rename.ts';
import { findMember, getMember, listMembers, type MemberRow, memberUrl, updateMember } from '#worker/state/members.ts';
import { lifecycle, makeChange, spread } from './changes.ts';
import type { Authorized } from './context.ts';

/** LXD's object. The URL is for people: nothing ever connects to a member. */
export function memberToApi(row: MemberRow, now: string) {
  const [address] = row.resources.addresses;
  const host = address === undefined ? row.name : address.includes(':') ? `[${address}]` : address;
  return {
    server_name: row.name,
    url: `https://${host}:8443`,
    database: true,
    roles: row.roles,
    failure_domain: row.failureDomain,
    description: row.description,
    config: row.config,
    groups: row.groups,
    ...memberStatus(row, now),
    architecture: row.architecture,
  };
}

/** What an ETag of a member covers. */
export const memberEtagParts = (row: MemberRow) => [
  row.roles,
  row.failureDomain,
  row.description,
  row.config,
  row.groups,
];

/** Replaces (PUT) or merges (PATCH) the writable part. Throws LXD's refusals. */
export async function changeMember(
  ctx: Authorized,
  row: MemberRow,
  wanted: ClusterMemberPut | ClusterMemberPatch,
  mode: 'replace' | 'merge',
): Promise<void> {
  const config = dropEmpty(mode === 'merge' ? { ...row.config, ...wanted.config } : wanted.config);
  const refusal = checkMemberConfig(config);
  if (refusal !== null) throw failed(refusal);
  const roles = [...new Set(wanted.roles ?? row.roles)];
  const roleRefusal = checkRoles(row.roles, roles);
  if (roleRefusal !== null) throw badRequest(roleRefusal);
  const groups = await checkGroups(ctx, wanted.groups ?? row.groups);
  const fields = {
    config,
    roles,
    groups,
    failureDomain: wanted.failure_domain || (mode === 'merge' ? row.failureDomain : 'default'),
    description: wanted.description ?? row.description,
  };
  await makeChange(ctx, {
    writes: [updateMember(ctx.db, row.name, fields)],
    events: [lifecycle(ctx, 'cluster-member-updated', memberUrl(row.name))],
  });
}

async function checkGroups(ctx: Authorized, names: string[]): Promise<string[]> {
  if (names.length === 0) throw badRequest('Cluster members need to belong to at least one group');
  const known = new Set((await listClusterGroups(ctx.db)).map(({ name }) => name));
  for (const name of names) if (name !== 'default' && !known.has(name)) throw notFound('Cluster group');
  return [...new Set(names)];
}

/**
 * Gives the member a new name, also while it is away: its agent learns it over the link, now or at its next hello. The old
 * name is free at once. Throws 400 for a name that cannot be one, 409 for a taken one; then nothing has changed.
 */
export async function renameMember(ctx: Authorized, name: string, newName: string): Promise<void> {
  const refusal = checkMemberName(newName);
  if (refusal !== null) throw badRequest(refusal);
  const [row, taken] = await Promise.all([getMember(ctx.db, name), findMember(ctx.db, newName)]);
  if (taken !== undefined) throw conflict(`The cluster already has a member with name: ${newName}`);
  const event = lifecycle(ctx, 'cluster-member-renamed', memberUrl(newName), null, { old_name: name });
  const followup = await moveToName(ctx.db, {
    from: name,
    to: newName,
    publicKey: row.publicKey,
    event,
    now: ctx.now(),
  });
  if (followup.events.length === 0) throw notFound('Cluster member');
  await spread(ctx, followup);
  await ctx.objects.links.rename(name, newName).catch((error: unknown) => {
    // The link goes on under the old name until it is lost; its next hello tells the agent.
    ctx.log.warn('member.rename.untold', { member: newName }, error);
  });
}

/** By name. */
export const listMemberRows = (ctx: Authorized): Promise<MemberRow[]> => listMembers(ctx.db);

/** Throws `Cluster member not found`. */
export const getMemberRow = (ctx: Authorized, name: string): Promise<MemberRow> => getMember(ctx.db, name);
