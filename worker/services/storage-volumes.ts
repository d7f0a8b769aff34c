/**
 * Storage volumes of a pool, as far as rows tell: instances' root volumes, and the images these were cloned from on the
 * same member.
 */
import { AppError, failed, notFound } from '#protocol/errors.ts';
import { findPool, listPoolInstances, type PoolInstance } from '#worker/state/pools.ts';
import type { Authorized } from './context.ts';
import { resourceUrl } from './member-work.ts';

const UNSET = '0001-01-01T00:00:00Z';

/** LXD's storage volume object. */
export interface ApiVolume {
  config: Record<string, string>;
  description: string;
  name: string;
  type: 'container' | 'image';
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

export interface VolumeScope {
  /** Null: every project. */
  projects: readonly string[] | null;
  target: string | null;
  /** Null: every type. */
  type: string | null;
}

/** The volumes of the pool by type and name. Throws `not_found` for an unknown pool. */
export async function getVolumes(ctx: Authorized, poolName: string, scope: VolumeScope): Promise<ApiVolume[]> {
  const [pool, instances] = await Promise.all([
    findPool(ctx.db, poolName),
    listPoolInstances(ctx.db, poolName, scope.projects),
  ]);
  if (!pool) throw notFound('Storage pool');
  const images = new Map<string, ApiVolume>();
  for (const { baseImage, member } of instances) {
    if (baseImage) images.set(`${baseImage}/${member}`, ofImage(baseImage, member));
  }
  return [...instances.map(ofInstance), ...images.values()].filter(
    (volume) =>
      (scope.target === null || volume.location === scope.target) &&
      (scope.type === null || volume.type === scope.type),
  );
}

/** One volume. Throws `not_found`, and `failed` when several members have one of this name and none is targeted. */
export async function getVolume(ctx: Authorized, pool: string, name: string, scope: VolumeScope): Promise<ApiVolume> {
  const [volume, ...more] = (await getVolumes(ctx, pool, scope)).filter((item) => item.name === name);
  if (!volume) throw notFound('Storage volume');
  if (more.length > 0) {
    throw failed(`More than one cluster member has a volume named "${name}". Please target a specific member`);
  }
  return volume;
}

/** Volumes of their own, apart from instances, are not there yet: said clearly instead of pretending. */
export const refuseCustomVolumes = (): never => {
  throw new AppError('not_implemented', 'Custom storage volumes are not supported');
};

/** The path under which LXD lists the volume. */
export const volumeUrl = (pool: string, volume: ApiVolume): string =>
  resourceUrl(`storage-pools/${encodeURIComponent(pool)}/volumes/${volume.type}`, volume.name, volume.project);
