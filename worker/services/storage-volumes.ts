/**
 * Storage volumes of a pool, as far as rows tell: instances' root volumes, the images these were cloned from on the same
 * member, and custom volumes. Changes of these are in `storage-volume-change.ts`.
 */
import { AppError, failed, notFound, unavailable } from '#protocol/errors.ts';
import { limitOf } from '#worker/domain/volume-config.ts';
import { findMember } from '#worker/state/members.ts';
import { findPool, listPoolInstances, type PoolInstance } from '#worker/state/pools.ts';
import {
  isUserOf,
  listVolumes,
  listVolumeUsers,
  type VolumeKey,
  type VolumeRow,
  type VolumeUser,
} from '#worker/state/volumes.ts';
import type { Authorized } from './context.ts';
import { resourceUrl } from './member-work.ts';
import { volumeProjects } from './project-volumes.ts';

const UNSET = '0001-01-01T00:00:00Z';

/** LXD's storage volume object. */
export interface ApiVolume {
  config: Record<string, string>;
  description: string;
  name: string;
  type: 'container' | 'image' | 'custom';
  used_by: string[];
  location: string;
  content_type: 'filesystem';
  project: string;
  created_at: string;
}

const ofInstance = (instance: PoolInstance): ApiVolume => ({
  config: {},
  description: '',
  name: instance.name,
  type: 'container',
  used_by: [resourceUrl('instances', instance.name, instance.project)],
  location: instance.member,
  content_type: 'filesystem',
  project: instance.project,
  created_at: instance.createdAt,
});

/** Image volumes belong to the default project, whoever uses them. */
const ofImage = (fingerprint: string, location: string): ApiVolume => ({
  config: {},
  description: '',
  name: fingerprint,
  type: 'image',
  used_by: [`/1.0/images/${fingerprint}`],
  location,
  content_type: 'filesystem',
  project: 'default',
  created_at: UNSET,
});

const ofCustom = (row: VolumeRow, users: readonly VolumeUser[]): ApiVolume => ({
  config: row.config,
  description: row.description,
  name: row.name,
  type: 'custom',
  used_by: users.filter((user) => isUserOf(user, row)).map(userUrl),
  location: row.member,
  content_type: 'filesystem',
  project: row.project,
  created_at: row.createdAt,
});

const userUrl = ({ kind, name, project }: VolumeUser): string =>
  resourceUrl(kind === 'instance' ? 'instances' : 'profiles', name, project);

export interface VolumeScope {
  /** Null: every project. */
  projects: readonly string[] | null;
  target: string | null;
  /** Null: every type. */
  type: string | null;
}

/** The volumes of the pool by type and name. Throws `not_found` for an unknown pool. */
export async function getVolumes(ctx: Authorized, poolName: string, scope: VolumeScope): Promise<ApiVolume[]> {
  const owners = await volumeProjects(ctx, scope.projects);
  const [pool, instances, custom, users] = await Promise.all([
    findPool(ctx.db, poolName),
    listPoolInstances(ctx.db, poolName, scope.projects),
    listVolumes(ctx.db, poolName, owners),
    listVolumeUsers(ctx.db, poolName),
  ]);
  const { projects } = ctx.principal;
  const shown = projects === null ? users : users.filter(({ project }) => projects.includes(project));
  if (!pool) throw notFound('Storage pool');
  const images = new Map<string, ApiVolume>();
  for (const { baseImage, member } of instances) {
    if (baseImage) images.set(`${baseImage}/${member}`, ofImage(baseImage, member));
  }
  const all = [...instances.map(ofInstance), ...images.values(), ...custom.map((row) => ofCustom(row, shown))];
  return all.filter(
    (volume) =>
      (scope.target === null || volume.location === scope.target) &&
      (scope.type === null || volume.type === scope.type),
  );
}

/** One volume. Throws `not_found`, and `failed` when several members have one of this name and none is targeted. */
export async function getVolume(ctx: Authorized, pool: string, name: string, scope: VolumeScope): Promise<ApiVolume> {
  const volumes = (await getVolumes(ctx, pool, scope)).filter((item) => item.name === name);
  return pickVolume(name, volumes, ctx.principal.member);
}

/** The only one, or of several that on the caller's own member, as a member of LXD answers for itself. */
export function pickVolume<V extends { location: string }>(
  name: string,
  volumes: readonly V[],
  local: string | null,
): V {
  const [volume, ...more] = volumes;
  if (!volume) throw notFound('Storage volume');
  if (more.length === 0) return volume;
  const own = volumes.find(({ location }) => location === local);
  if (own) return own;
  throw failed(`More than one cluster member has a volume named "${name}". Please target a specific member`);
}

/** What a custom volume takes up now. Throws `unavailable` while its member is away, LXD's refusal where none can tell. */
export async function getVolumeState(ctx: Authorized, pool: string, name: string, scope: VolumeScope) {
  const volume = await getVolume(ctx, pool, name, scope);
  if (volume.type !== 'custom') throw failed('Not supported');
  await requireOnline(ctx, volume.location);
  const { usedBytes } = await ctx.objects.links.query(volume.location, 'volume.state', {
    pool,
    volume: { project: volume.project, name },
  });
  if (usedBytes === null) throw failed('Not supported');
  return { usage: { used: usedBytes, total: limitOf(volume.config) ?? 0 } };
}

/** Throws `unavailable` when the member is away, `not_found` when there is none. */
export async function requireOnline(ctx: Authorized, name: string): Promise<void> {
  const member = await findMember(ctx.db, name);
  if (!member) throw notFound('Cluster member');
  if (!member.online) throw unavailable(`Cluster member "${name}" is offline`);
}

/** The users of a volume. */
export async function listUsersOf(ctx: Authorized, volume: VolumeKey): Promise<VolumeUser[]> {
  return (await listVolumeUsers(ctx.db, volume.pool)).filter((user) => isUserOf(user, volume));
}

const refuse = (text: string) => (): never => {
  throw new AppError('not_implemented', text);
};
export const refuseCopy = refuse('Copying storage volumes is not supported in this version');
export const refuseImport = refuse('Importing storage volumes is not supported in this version');
export const refuseSnapshot = refuse('Snapshots of storage volumes are not supported in this version');
export const refuseBackup = refuse('Exporting storage volumes is not supported in this version');

/** The path under which LXD lists the volume. */
export const volumeUrl = (pool: string, volume: ApiVolume): string =>
  resourceUrl(`storage-pools/${encodeURIComponent(pool)}/volumes/${volume.type}`, volume.name, volume.project);
