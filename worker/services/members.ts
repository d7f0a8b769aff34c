/** Cluster members as users see and change them (lxd-api 5.3, 12.1). Joining is in `join.ts`, removal in `member-remove.ts`. */
import type { ClusterMemberPatch, ClusterMemberPut } from '#protocol/api/cluster.ts';
import { AppError, badRequest, failed, notFound } from '#protocol/errors.ts';
import { dropEmpty } from '#worker/domain/instance-config.ts';
import { checkMemberConfig, checkRoles, memberStatus } from '#worker/domain/member.ts';
import { listClusterGroups } from '#worker/state/cluster-groups.ts';
import { getMember, listMembers, type MemberRow, memberUrl, updateMember } from '#worker/state/members.ts';
import { lifecycle, makeChange } from './changes.ts';
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

/** A host's agent knows itself by its name, so a new one would lock it out. */
export function refuseRename(): never {
  throw new AppError(
    'not_implemented',
    'Renaming cluster members is not supported: remove the member and join it anew',
  );
}

/** By name. */
export const listMemberRows = (ctx: Authorized): Promise<MemberRow[]> => listMembers(ctx.db);

/** Throws `Cluster member not found`. */
export const getMemberRow = (ctx: Authorized, name: string): Promise<MemberRow> => getMember(ctx.db, name);
