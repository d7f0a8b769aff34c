/**
 * Changing an instance's config, devices and profiles. The row is desired state: it changes at once, and the member is told
 * by the same batch. What the member refuses is taken back. A member that is away gets the command when it returns, and the
 * operation is done without it.
 */
import type { InstancePatch, InstancePut } from '#protocol/api/instance.ts';
import type { InstanceUndo } from '#protocol/commands.ts';
import { AppError, badRequest, notFound } from '#protocol/errors.ts';
import {
  type Config,
  configPatch,
  type Devices,
  devicesPatch,
  dropEmptyOptions,
  expandConfig,
  expandDevices,
} from '#worker/domain/config.ts';
import { replaceConfig } from '#worker/domain/instance-config.ts';
import { parseArchitecture } from '#worker/domain/instance-type.ts';
import {
  type InstanceForChange,
  type InstanceRow,
  loadInstanceForChange,
  updateInstance,
} from '#worker/state/instance-queries.ts';
import { instanceResources } from '#worker/state/instance-urls.ts';
import type { Authorized } from './context.ts';
import { memoryBytesOf, toInstanceSpec, toNetworkSpecs } from './instance-spec.ts';
import {
  type Expanded,
  missingHwaddrs,
  pickProfiles,
  UPDATING,
  validateExpanded,
  validateOwn,
} from './instance-validate.ts';
import { checkVolumesOn } from './instance-volumes.ts';
import { isRestricted, writableParts } from './instances.ts';
import { startOperation } from './operations.ts';

export interface UpdateRequest {
  project: string;
  name: string;
  /** Throws when the instance is not what the caller last saw (`If-Match`). */
  precondition: (parts: unknown) => Promise<void>;
}

interface Wanted {
  architecture: string;
  config: Config;
  devices: Devices;
  profiles: string[];
  ephemeral: boolean;
  description: string;
}

/** `PUT`: the whole writable object. Answers the operation; throws for every refusal, with nothing written. */
export async function putInstance(ctx: Authorized, request: UpdateRequest, body: InstancePut) {
  if (body.restore !== '')
    throw new AppError('not_implemented', 'Restoring snapshots is not supported in this version');
  return change(ctx, request, body.profiles, () => body);
}

/** `PATCH`: config keys and devices are merged by name, the rest replaced where given. */
export async function patchInstance(ctx: Authorized, request: UpdateRequest, body: InstancePatch) {
  return change(ctx, request, body.profiles ?? [], (row) => ({
    architecture: body.architecture ?? '',
    config: { ...row.config, ...body.config },
    devices: { ...row.devices, ...body.devices },
    profiles: body.profiles ?? row.profiles,
    ephemeral: body.ephemeral ?? row.ephemeral,
    description: body.description ?? row.description,
  }));
}

async function change(
  ctx: Authorized,
  { project, name, precondition }: UpdateRequest,
  profileNames: readonly string[],
  wantedOf: (row: InstanceRow) => Wanted,
) {
  const loaded = await loadInstanceForChange(ctx.db, project, name, { profileNames });
  if (!loaded) throw notFound('Instance');
  const { row, online } = loaded;
  await precondition(writableParts(row));
  const asked = wantedOf(row);
  const wanted = { ...asked, devices: dropEmptyOptions(asked.devices) };
  const { next, layers, expanded } = nextRow(ctx, loaded, wanted);
  await checkVolumesOn(ctx, project, expanded.devices, row.member);
  const spec = toInstanceSpec(next, layers);
  const networks = toNetworkSpecs(expanded.devices, loaded.networks, loaded.networkMembers, row.member);
  const memoryBytes = memoryBytesOf(expanded.config);
  const command = { member: row.member, name: 'instance.update' as const, params: { spec, networks } };
  const undo = undoOf(row, { ...next, memoryBytes });
  return startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Updating instance',
      resources: instanceResources(project, name),
      mayCancel: false,
      location: row.member,
    },
    writes: [
      updateInstance(ctx.db, row.id, {
        config: configPatch(row.config, next.config),
        devices: next.devices,
        profiles: next.profiles,
        description: next.description,
        ephemeral: next.ephemeral,
        memoryBytes,
      }),
    ],
    commands: online ? [{ ...command, params: { ...command.params, undo } }] : [],
    converge: online ? [] : [command],
  });
}

/** The row as it is to be, validated. */
function nextRow(ctx: Authorized, loaded: InstanceForChange, wanted: Wanted) {
  const { row } = loaded;
  if (wanted.architecture !== '' && parseArchitecture(wanted.architecture) !== row.architecture)
    throw badRequest(`The architecture of an instance cannot be changed from "${row.architecture}"`);
  validateOwn(wanted, UPDATING);
  const layers = pickProfiles(wanted.profiles, loaded.layers, () => notFound('Profile'));
  const deviceNames = Object.keys(expandDevices(layers, wanted.devices));
  const kept = replaceConfig(row.config, wanted.config, deviceNames);
  const previous = {
    config: expandConfig(loaded.profiles, row.config),
    devices: expandDevices(loaded.profiles, row.devices),
  };
  const asked = { name: row.name, config: kept, devices: wanted.devices, layers, networks: loaded.networks, previous };
  const expanded = validateExpanded({ ...asked, restricted: isRestricted(ctx) }, UPDATING);
  if (expanded.root.pool !== row.pool)
    throw badRequest(`Cannot update root disk device pool name to "${expanded.root.pool}"`);
  const config = {
    ...kept,
    ...missingHwaddrs(kept, expanded.devices),
    ...(cloudInitChanged(previous.config, expanded) ? { 'volatile.cloud-init.instance-id': ctx.newId() } : {}),
  };
  const { devices, profiles, ephemeral, description } = wanted;
  return { next: { ...row, config, devices, profiles, ephemeral, description }, layers, expanded };
}

const CLOUD_INIT = /^(cloud-init\.|user\.(user-data|vendor-data|network-config|meta-data)$)/;

/** cloud-init runs again only for a new instance id, so new data needs one. */
function cloudInitChanged(before: Config, { config: after }: Expanded): boolean {
  return Object.keys({ ...before, ...after }).some((key) => CLOUD_INIT.test(key) && before[key] !== after[key]);
}

/** What puts the row back as it was, when its member refuses the change. */
function undoOf(before: InstanceRow, after: InstanceRow & { memoryBytes: number }): InstanceUndo {
  const differs = <K extends 'profiles' | 'description' | 'ephemeral' | 'memoryBytes'>(key: K) =>
    JSON.stringify(before[key]) === JSON.stringify(after[key]) ? {} : { [key]: before[key] };
  return {
    config: configPatch(after.config, before.config),
    devices: devicesPatch(after.devices, before.devices),
    ...differs('profiles'),
    ...differs('description'),
    ...differs('ephemeral'),
    ...differs('memoryBytes'),
  };
}
