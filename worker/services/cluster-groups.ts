/** Cluster groups: names for sets of members, to place instances by (lxd-api 5.3). */
import type { ClusterGroupPatch, ClusterGroupPut, ClusterGroupsPost } from '#protocol/api/cluster.ts';
import { badRequest, conflict, forbidden, notFound } from '#protocol/errors.ts';
import { checkGroupName } from '#worker/domain/member.ts';
import {
  deleteClusterGroup,
  findClusterGroup,
  insertClusterGroup,
  listClusterGroups,
  renameClusterGroup,
  setMemberGroups,
  updateClusterGroup,
} from '#worker/state/cluster-groups.ts';
import { listMembers, type MemberRow } from '#worker/state/members.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';

export interface ClusterGroup {
  name: string;
  description: string;
  members: string[];
}

/** The group every member starts in: there, whether it has a row or not. */
const DEFAULT = { name: 'default', description: 'Default cluster group' };

export const clusterGroupUrl = (name: string) => `/1.0/cluster/groups/${encodeURIComponent(name)}`;

const toGroup = (row: { name: string; description: string }, members: readonly MemberRow[]): ClusterGroup => ({
  ...row,
  members: members.filter(({ groups }) => groups.includes(row.name)).map(({ name }) => name),
});

export async function listGroups(ctx: Authorized): Promise<ClusterGroup[]> {
  const [rows, members] = await Promise.all([listClusterGroups(ctx.db), listMembers(ctx.db)]);
  const all = rows.some(({ name }) => name === DEFAULT.name) ? rows : [DEFAULT, ...rows];
  return all.map((row) => toGroup(row, members));
}

/** Throws `Cluster group not found`. */
export async function getGroup(ctx: Authorized, name: string): Promise<ClusterGroup> {
  const [row, members] = await Promise.all([findClusterGroup(ctx.db, name), listMembers(ctx.db)]);
  if (row === undefined && name !== DEFAULT.name) throw notFound('Cluster group');
  return toGroup(row ?? DEFAULT, members);
}

export async function createGroup(ctx: Authorized, { name, description, members }: ClusterGroupsPost): Promise<void> {
  const refusal = checkGroupName(name);
  if (refusal !== null) throw badRequest(refusal);
  if (name === DEFAULT.name || (await findClusterGroup(ctx.db, name)) !== undefined) throw exists(name);
  const moves = await planMembers(ctx, name, members);
  await makeChange(ctx, {
    writes: [insertClusterGroup(ctx.db, { name, description }), ...moves],
    events: [lifecycle(ctx, 'cluster-group-created', clusterGroupUrl(name))],
  });
}

/** Replaces description and members; what a PATCH leaves out stays. */
export async function changeGroup(
  ctx: Authorized,
  group: ClusterGroup,
  wanted: ClusterGroupPut | ClusterGroupPatch,
): Promise<void> {
  const { name } = group;
  const moves = await planMembers(ctx, name, wanted.members ?? group.members);
  const description = wanted.description ?? group.description;
  const known = (await findClusterGroup(ctx.db, name)) !== undefined;
  const own = known ? updateClusterGroup(ctx.db, name, description) : insertClusterGroup(ctx.db, { name, description });
  await makeChange(ctx, {
    writes: [own, ...moves],
    events: [lifecycle(ctx, 'cluster-group-updated', clusterGroupUrl(name))],
  });
}

export async function renameGroup(ctx: Authorized, name: string, newName: string): Promise<void> {
  if (name === DEFAULT.name) throw forbidden('The "default" group cannot be renamed');
  const refusal = checkGroupName(newName);
  if (refusal !== null) throw badRequest(refusal);
  await getGroup(ctx, name);
  if (newName === DEFAULT.name || (await findClusterGroup(ctx.db, newName)) !== undefined) throw exists(newName);
  await makeChange(ctx, {
    writes: renameClusterGroup(ctx.db, name, newName),
    events: [lifecycle(ctx, 'cluster-group-renamed', clusterGroupUrl(newName), null, { old_name: name })],
  });
}

export async function deleteGroup(ctx: Authorized, name: string): Promise<void> {
  if (name === DEFAULT.name) throw forbidden("The 'default' cluster group cannot be deleted");
  const group = await getGroup(ctx, name);
  if (group.members.length > 0) throw badRequest('Only empty cluster groups can be removed');
  await makeChange(ctx, {
    writes: [deleteClusterGroup(ctx.db, name)],
    events: [lifecycle(ctx, 'cluster-group-deleted', clusterGroupUrl(name))],
  });
}

const exists = (name: string) => conflict(`Cluster group "${name}" already exists`);

/** The members' rows that must change so that exactly `wanted` are in the group. No member may end up in none. */
async function planMembers(ctx: Authorized, name: string, wanted: readonly string[]) {
  const members = await listMembers(ctx.db);
  for (const member of wanted) if (!members.some((row) => row.name === member)) throw notFound('Cluster member');
  return members.flatMap((row) => {
    const inside = row.groups.includes(name);
    if (inside === wanted.includes(row.name)) return [];
    const groups = inside ? row.groups.filter((group) => group !== name) : [...row.groups, name];
    if (groups.length === 0) throw badRequest('Cluster members need to belong to at least one group');
    return [setMemberGroups(ctx.db, row.name, groups)];
  });
}
