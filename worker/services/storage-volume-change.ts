/**
 * Making, changing, renaming and removing custom volumes. A volume's content is on one member, so what touches it needs that
 * member: while it is away such calls are refused, and all other volumes are as free as before.
 */
import type { StorageVolumePost, StorageVolumesPost } from '#protocol/api/storage-volume.ts';
import { AppError, badRequest, conflict, notFound } from '#protocol/errors.ts';
import { checkVolumeName } from '#protocol/names.ts';
import type { Config } from '#worker/domain/config.ts';
import { checkVolumeConfig, limitOf, withPoolDefaults } from '#worker/domain/volume-config.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { listMembers } from '#worker/state/members.ts';
import { findPoolWithMembers, type PoolWithMembers, poolSpecFor, toPoolSpec } from '#worker/state/pools.ts';
import type { Statement } from '#worker/state/statement.ts';
import { insertVolume, listVolumesNamed, updateVolume, type VolumeRow } from '#worker/state/volumes.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized } from './context.ts';
import { sameConfig, withoutEmpty } from './member-work.ts';
import { startOperation, waitForCreated } from './operations.ts';
import { writableVolumeProject } from './project-volumes.ts';
import { listUsersOf, pickVolume, refuseBackup, refuseCopy, refuseSnapshot, requireOnline } from './storage-volumes.ts';

const TAKEN = 'Volume by that name already exists';

/** Which volume a request is about. */
export interface VolumePath {
  pool: string;
  project: string;
  type: string;
  name: string;
  target: string | null;
}

/** Makes an empty volume on the target, the caller's own member, or the first that has the pool. Answers its name. */
export async function createVolume(
  ctx: Authorized,
  at: Omit<VolumePath, 'name'>,
  body: StorageVolumesPost,
): Promise<string> {
  const type = at.type || body.type || 'custom';
  if (type !== 'custom') throw badRequest('Currently not allowed to create storage volumes of type "' + type + '"');
  if (body.source.type === 'backup') refuseBackup();
  if (body.source.type !== '') refuseCopy();
  const contentType = body.content_type || 'filesystem';
  if (contentType !== 'filesystem') {
    throw badRequest(`Volumes of content type "${contentType}" are for virtual machines, which are not supported`);
  }
  const refusal = checkVolumeName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  const project = await writableVolumeProject(ctx, at.project);
  const pool = await findPoolWithMembers(ctx.db, at.pool);
  if (!pool) throw notFound('Storage pool');
  const config = withPoolDefaults(pool.driver, pool.config, withoutEmpty(body.config));
  checkConfig(pool.driver, config);
  const member = await chooseMember(ctx, pool, at.target);
  const part = pool.members.find((row) => row.member === member);
  const { description, name } = body;
  const row: VolumeRow = {
    pool: pool.name,
    project,
    name,
    member,
    description,
    config,
    status: 'Pending',
    createdAt: ctx.now(),
  };
  await runOnMember(ctx, {
    project: at.project,
    description: 'Creating storage volume',
    writes: [insertVolume(ctx.db, row)],
    command: {
      member,
      name: 'volume.create',
      params: { pool: toPoolSpec(pool, part?.config ?? {}), volume: specOf(row) },
    },
  });
  return name;
}

function checkConfig(driver: string, config: Config): void {
  const refusal = checkVolumeConfig(driver, config);
  if (refusal !== null) throw badRequest(refusal);
}

const specOf = ({ project, name, description, config }: VolumeRow) => ({ project, name, description, config });

async function chooseMember(ctx: Authorized, pool: PoolWithMembers, target: string | null): Promise<string> {
  const has = (member: string) => pool.members.some((row) => row.member === member && row.status === 'Created');
  if (target !== null) {
    await requireOnline(ctx, target);
    if (!has(target)) throw notFound('Storage pool');
    return target;
  }
  const local = ctx.principal.member;
  if (local !== null && has(local)) return local;
  const first = (await listMembers(ctx.db)).find((member) => member.online && has(member.name));
  if (!first) throw new AppError('unavailable', `No cluster member with storage pool "${pool.name}" is online`);
  return first.name;
}

/** The volume's row. Throws `not_found`, and `failed` when a target is missing. */
async function getCustom(ctx: Authorized, at: VolumePath): Promise<VolumeRow> {
  if (at.type !== 'custom') throw badRequest('Only custom volumes can be changed');
  const project = await writableVolumeProject(ctx, at.project);
  const rows = (await listVolumesNamed(ctx.db, at.pool, project, at.name)).filter(
    (row) => row.status === 'Created' && (at.target === null || row.member === at.target),
  );
  const located = rows.map((row) => ({ row, location: row.member }));
  return pickVolume(at.name, located, ctx.principal.member).row;
}

export interface VolumeChange {
  /** Undefined: as it is. */
  description: string | undefined;
  config: Config;
  /** PATCH: keys that are not named stay. */
  merge: boolean;
  /** PUT: the snapshot to go back to. */
  restore: string;
}

/** A new size needs the member; all else is the row's. Throws LXD's refusals; then everything is as it was. */
export async function changeVolume(ctx: Authorized, at: VolumePath, change: VolumeChange): Promise<void> {
  if (change.restore !== '') refuseSnapshot();
  const row = await getCustom(ctx, at);
  const pool = await poolSpecFor(ctx.db, row.pool, row.member);
  const config = withoutEmpty(change.merge ? { ...row.config, ...change.config } : change.config);
  checkConfig(pool.driver, config);
  const after: VolumeRow = { ...row, config, description: change.description ?? row.description };
  if (limitOf(config) !== limitOf(row.config)) {
    await requireOnline(ctx, row.member);
    await runOnMember(ctx, {
      project: row.project,
      description: 'Updating storage volume',
      writes: [],
      command: {
        member: row.member,
        name: 'volume.update',
        params: { pool, volume: specOf(after), before: specOf(row) },
      },
    });
    return;
  }
  if (sameConfig(config, row.config) && after.description === row.description) return;
  await makeChange(ctx, {
    writes: [updateVolume(ctx.db, row, { config, description: after.description })],
    events: [
      lifecycle(
        ctx,
        'storage-volume-updated',
        `/1.0/storage-pools/${encodeURIComponent(row.pool)}/volumes/custom/${encodeURIComponent(row.name)}`,
        row.project,
        { type: 'custom' },
      ),
    ],
  });
}

/** Gives an unused volume another name. */
export async function renameVolume(ctx: Authorized, at: VolumePath, body: StorageVolumePost): Promise<void> {
  const moved = (body.pool !== '' && body.pool !== at.pool) || (body.project !== '' && body.project !== at.project);
  if (body.migration || moved) refuseCopy();
  const refusal = checkVolumeName(body.name);
  if (refusal !== null) throw badRequest(refusal);
  const row = await getCustom(ctx, at);
  if (body.name === row.name) throw conflict(TAKEN);
  const users = await listUsersOf(ctx, row);
  if (users.some(({ status }) => status === 'Running' || status === 'Frozen')) {
    throw badRequest('Volume is still in use by running instances');
  }
  if (users.length > 0) throw badRequest(IN_USE);
  await requireOnline(ctx, row.member);
  const { project, name } = row;
  await runOnMember(ctx, {
    project,
    description: 'Renaming storage volume',
    writes: [updateVolume(ctx.db, row, { name: body.name })],
    command: {
      member: row.member,
      name: 'volume.rename',
      params: { pool: await poolSpecFor(ctx.db, row.pool, row.member), volume: { project, name }, newName: body.name },
    },
  });
}

const IN_USE = 'The storage volume is still in use';

/** Removes an unused volume with all it holds. */
export async function deleteVolume(ctx: Authorized, at: VolumePath): Promise<void> {
  const row = await getCustom(ctx, at);
  if ((await listUsersOf(ctx, row)).length > 0) throw badRequest(IN_USE);
  await requireOnline(ctx, row.member);
  const { project, name } = row;
  await runOnMember(ctx, {
    project,
    description: 'Deleting storage volume',
    writes: [],
    command: {
      member: row.member,
      name: 'volume.delete',
      params: { pool: await poolSpecFor(ctx.db, row.pool, row.member), volume: { project, name } },
    },
  });
}

interface MemberChange {
  project: string;
  description: string;
  writes: Statement[];
  command: NewCommand;
}

/** One command for one member, waited for. Throws `conflict` for a taken name, `failed` with the member's reason. */
async function runOnMember(ctx: Authorized, { project, description, writes, command }: MemberChange): Promise<void> {
  const operation = {
    project,
    class: 'task' as const,
    description,
    resources: null,
    mayCancel: false,
    location: command.member,
  };
  try {
    const { id } = await startOperation(ctx, { operation, commands: [command], writes });
    await waitForCreated(ctx, id);
  } catch (error) {
    throw error instanceof AppError && error.code === 'conflict' ? conflict(TAKEN, error) : error;
  }
}
