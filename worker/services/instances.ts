/** Looking at instances: lists, one, its state. Lists answer from what members reported; nothing fans out. */

import { type Filter, matchesFilter, parseFilter } from '#protocol/api/filter.ts';
import { type ApiInstanceState, renderState } from '#protocol/api/instance-state.ts';
import { AppError, badRequest, conflict, forbidden, notFound, unavailable } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
import type { Config } from '#worker/domain/config.ts';
import {
  type InstanceList,
  type InstanceRow,
  type LoadedInstance,
  listInstances,
  loadInstance,
  type ProfileLayer,
} from '#worker/state/instance-queries.ts';
import type { Authorized } from './context.ts';
import {
  type ApiInstance,
  type ApiInstanceFull,
  mergeProfiles,
  type ProfileBase,
  renderInstance,
  renderInstanceFull,
  shownStatus,
} from './instance-render.ts';

/** A live look may take this long before the reported state is good enough. */
const STATE_QUERY_MS = 1_000;

/** What a PUT may change: the ETag covers exactly this. */
export const writableParts = (row: InstanceRow): unknown => ({
  architecture: row.architecture,
  config: row.config,
  devices: row.devices,
  ephemeral: row.ephemeral,
  profiles: row.profiles,
  description: row.description,
});

export interface ListRequest {
  /** Null: every project. */
  projects: string[] | null;
  recursion: number;
  filter: string;
  /** First part of the URLs in a list without recursion. */
  prefix: string;
}

const listUrl = ({ project, name }: InstanceRow, prefix: string) =>
  `/1.0/${prefix}/${name}${project === 'default' ? '' : `?project=${encodeURIComponent(project)}`}`;

/** URLs, instances, or instances with state (`recursion` 0, 1, 2). */
export async function listApiInstances(
  ctx: Authorized,
  request: ListRequest,
): Promise<(string | ApiInstance | ApiInstanceFull)[]> {
  const filter = parseFilter(request.filter);
  const list = await listInstances(ctx.db, request.projects);
  return renderList(list, filter, request);
}

/** Renders a list that was read; apart from the reading, so that its speed can be measured. */
export function renderList(
  list: InstanceList,
  filter: Filter,
  { recursion, prefix }: Pick<ListRequest, 'recursion' | 'prefix'>,
): (string | ApiInstance | ApiInstanceFull)[] {
  if (recursion === 0 && filter.length === 0) return list.rows.map((row) => listUrl(row, prefix));
  const online = new Map(list.members.map((member) => [member.name, member.online]));
  const baseOf = profileBases(list);
  const full = recursion > 1 || filter.length > 0;
  const result: (string | ApiInstance | ApiInstanceFull)[] = [];
  for (const row of list.rows) {
    const render = full ? renderInstanceFull : renderInstance;
    const instance = render(row, baseOf(row), online.get(row.member) ?? false);
    if (!matchesFilter(filter, instance)) continue;
    if (recursion === 0) result.push(listUrl(row, prefix));
    else result.push(recursion === 1 && full ? withoutState(instance) : instance);
  }
  return result;
}

function withoutState(instance: ApiInstance): ApiInstance {
  const { backups: _backups, snapshots: _snapshots, state: _state, ...rest } = instance as ApiInstanceFull;
  return rest;
}

/** Finds the profiles of a row in a list that was read; a project without profiles of its own uses those of `default`. */
export function profileLayers(list: InstanceList): (row: Pick<InstanceRow, 'project' | 'profiles'>) => ProfileLayer[] {
  const owners = new Map(
    list.projects.map(({ name, config }) => [name, isTrue(config['features.profiles']) ? name : 'default']),
  );
  owners.set('default', 'default');
  const layers = new Map(list.profiles.map((layer) => [`${layer.project}\0${layer.name}`, layer]));
  return ({ project, profiles }) => profiles.flatMap((name) => layers.get(`${owners.get(project)}\0${name}`) ?? []);
}

/** Finds the merged profiles of a row, merging each set of profiles once. */
function profileBases(list: InstanceList): (row: InstanceRow) => ProfileBase {
  const layersOf = profileLayers(list);
  const bases = new Map<string, ProfileBase>();
  return (row) => {
    const key = [row.project, ...row.profiles].join('\0');
    const base = bases.get(key) ?? mergeProfiles(layersOf(row));
    bases.set(key, base);
    return base;
  };
}

/** Throws `not_found` for an instance that is not there. */
export async function getInstance(ctx: Authorized, project: string, name: string): Promise<LoadedInstance> {
  const loaded = await loadInstance(ctx.db, project, name);
  if (!loaded) throw notFound('Instance');
  return loaded;
}

/** The instance and what its ETag is made of. */
export async function getApiInstance(
  ctx: Authorized,
  project: string,
  name: string,
  full: boolean,
): Promise<{ instance: ApiInstance; parts: unknown }> {
  const { row, profiles, online, blocked = false } = await getInstance(ctx, project, name);
  const render = full ? renderInstanceFull : renderInstance;
  return { instance: render(row, mergeProfiles(profiles), online || blocked), parts: writableParts(row) };
}

/** The state as the host sees it now; what was reported last when the host does not answer in time. */
export async function getInstanceState(ctx: Authorized, project: string, name: string): Promise<ApiInstanceState> {
  const { row, online, blocked = false } = await getInstance(ctx, project, name);
  if (online) {
    try {
      const report = await ctx.objects.links.query(row.member, 'instance.state', { project, name }, STATE_QUERY_MS);
      return renderState(report.status, report.state);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      ctx.log.debug('instance.state.reported', { member: row.member, instance: name, code: error.code });
    }
  }
  return renderState(shownStatus(row, online || blocked), row.state);
}

/**
 * Before anything is written: throws `unavailable` when the instance's member is away, LXD's `conflict` while the instance
 * is on its way to another one.
 */
export function requireOnline({ row, online }: Pick<LoadedInstance, 'row' | 'online'>): void {
  if (row.movingTo !== null) throw conflict('Instance is busy running a "migrate" operation');
  if (!online) throw unavailable(`Cluster member "${row.member}" is offline`);
}

/** Throws LXD's 400 unless programs can run in the instance. */
export function requireRunning(row: InstanceRow): void {
  if (row.status === 'Frozen') throw badRequest('Instance is frozen');
  if (row.status !== 'Running') throw badRequest('Instance is not running');
}

/** Whether the caller may do anything on the hosts, or only what a project's user may. */
export const isRestricted = (ctx: Authorized): boolean => ctx.principal.projects !== null;

/** Throws `forbidden` with the text of a refusal, if there is one. */
export function forbid(refusal: string | null): void {
  if (refusal !== null) throw forbidden(refusal);
}

/** Image metadata as `metadata.yaml` has it, from what the instance kept of its image. */
export async function getInstanceMetadata(ctx: Authorized, project: string, name: string) {
  const { row } = await getInstance(ctx, project, name);
  return {
    architecture: row.architecture,
    creation_date: Math.floor(Date.parse(row.createdAt) / 1000),
    expiry_date: 0,
    properties: imageProperties(row.config),
    templates: {},
  };
}

const imageProperties = (config: Config): Config =>
  Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) => (key.startsWith('image.') ? [[key.slice(6), value]] : [])),
  );
