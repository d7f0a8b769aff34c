/**
 * `lxc copy` (lxd-api 6.4): a new instance whose volume is another's. It is made like any new instance; only its volume comes
 * from a neighbour on the same member, or by a stream from another one.
 */
import { badRequest, notFound } from '#protocol/errors.ts';
import type { Config } from '#worker/domain/config.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { type LoadedInstance, loadInstance } from '#worker/state/instance-queries.ts';
import type { Authorized } from './context.ts';
import type { CreateRequest } from './instance-create.ts';
import { toInstanceSpec } from './instance-spec.ts';
import { requireOnline } from './instances.ts';

/** What identifies an instance stays with it; a copy remembers its image alone. */
const ownKeys = (config: Config): Config =>
  Object.fromEntries(
    Object.entries(config).filter(([key]) => !key.startsWith('volatile.') || key === 'volatile.base_image'),
  );

/**
 * A request to copy becomes one for a new instance that says all of it: what it leaves out is the source's. Any other is
 * answered as it is. Throws 404 for no such source, 503 when its member is away.
 */
export async function readCopy(ctx: Authorized, request: CreateRequest): Promise<CreateRequest> {
  const { project, body } = request;
  const { source } = body;
  if (source.type !== 'copy') return request;
  if (source.source.includes('/')) throw badRequest('Copying snapshots is not supported in this version');
  const copyOf = await loadInstance(ctx.db, project, source.source);
  if (!copyOf) throw notFound('Instance');
  requireOnline(copyOf);
  const { row } = copyOf;
  return {
    ...request,
    copyOf,
    body: {
      ...body,
      architecture: row.architecture,
      config: { ...ownKeys(row.config), ...body.config },
      devices: { ...row.devices, ...body.devices },
      profiles: body.profiles ?? row.profiles,
      source: { ...source, type: 'none' },
    },
  };
}

/** Volumes are copied as they are: drivers do not read each other's. */
export function requireSamePool({ row }: LoadedInstance, pool: string): void {
  if (row.pool !== pool) throw badRequest('Copying instances between storage pools is not supported in this version');
}

interface CopyPlan {
  /** Where the new instance's volume comes from, for its `instance.create`. */
  params: { copyOf?: { project: string; name: string }; streamId?: string; from?: string };
  commands: NewCommand[];
}

export const NO_COPY: CopyPlan = { params: {}, commands: [] };

/** How `member` gets the volume. */
export function planCopy(ctx: Authorized, { row, profiles }: LoadedInstance, member: string): CopyPlan {
  if (row.member === member) return { params: { copyOf: { project: row.project, name: row.name } }, commands: [] };
  const streamId = ctx.newId();
  return {
    params: { streamId, from: row.member },
    commands: [
      {
        member: row.member,
        name: 'instance.send',
        params: {
          spec: toInstanceSpec(row, profiles),
          streamId,
          to: member,
          stop: null,
          copy: true,
          progress: 'fs_progress',
        },
      },
    ],
  };
}
