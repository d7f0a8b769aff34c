/** Rows to what members are told: the expanded instance, its pool and its networks. Pure but for the size check's error. */
import type { ImageSource, InstanceSpec, NetworkSpec } from '#protocol/commands.ts';
import { AppError } from '#protocol/errors.ts';
import { FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import { type Config, type Devices, expandConfig, expandDevices } from '#worker/domain/config.ts';
import { nicNetworks } from '#worker/domain/instance-devices.ts';
import type { ImageRow } from '#worker/state/images.ts';
import type { InstanceRow, ProfileLayer } from '#worker/state/instance-queries.ts';
import { type NetworkMemberRow, type NetworkRow, toNetworkSpec } from '#worker/state/networks.ts';

/** Room in a frame for the command's other params. */
const SPEC_LIMIT_BYTES = FRAME_LIMIT_BYTES - 128 * 1024;

type SpecFields = Pick<
  InstanceRow,
  | 'id'
  | 'project'
  | 'name'
  | 'type'
  | 'architecture'
  | 'description'
  | 'ephemeral'
  | 'createdAt'
  | 'profiles'
  | 'config'
  | 'devices'
>;

/** The instance as its member is told of it. Throws `too_large` when it would not fit into one frame of the link. */
export function toInstanceSpec(row: SpecFields, layers: readonly ProfileLayer[]): InstanceSpec {
  const spec: InstanceSpec = {
    project: row.project,
    name: row.name,
    id: row.id,
    type: row.type,
    architecture: row.architecture,
    description: row.description,
    ephemeral: row.ephemeral,
    createdAt: row.createdAt,
    profiles: row.profiles,
    config: row.config,
    devices: row.devices,
    expandedConfig: expandConfig(layers, row.config),
    expandedDevices: expandDevices(layers, row.devices),
  };
  if (new TextEncoder().encode(JSON.stringify(spec)).length > SPEC_LIMIT_BYTES)
    throw new AppError('too_large', `The configuration of instance "${row.name}" is too large`);
  return spec;
}

/** The managed networks that the NICs use, as `member` has them. NICs on unmanaged bridges need none. */
export function toNetworkSpecs(
  devices: Devices,
  networks: readonly NetworkRow[],
  memberRows: readonly NetworkMemberRow[],
  member: string,
): NetworkSpec[] {
  const { required, possible } = nicNetworks(devices);
  return [...required, ...possible].flatMap((name) => {
    const network = networks.find((row) => row.name === name);
    const own = memberRows.find((row) => row.network === name && row.member === member);
    return network ? [toNetworkSpec(network, own?.config ?? {})] : [];
  });
}

/** Where a member fetches the image's content. */
export const toImageSource = (image: ImageRow): ImageSource => ({
  fingerprint: image.fingerprint,
  parts: image.parts.map(({ name, sizeBytes, filename }) => ({ name, sizeBytes, filename })),
});

/** What placement counts for `limits.memory`; a share of the host's memory or no limit count nothing. */
export const memoryBytesOf = (config: Config): number => parseSizeBytes(config['limits.memory'] ?? '') ?? 0;
