/**
 * Disks of an instance that are custom volumes. The instance driver knows directories of the host only, so the set-up it
 * gets has each such disk with the directory that holds the volume's content.
 */
import type { InstanceSpec, VolumeRef } from '#protocol/commands.ts';
import { AppError, badRequest, failed } from '#protocol/errors.ts';
import { hostVolumeName } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import type { Host } from './host.ts';

type Device = InstanceSpec['expandedDevices'][string];

const isVolume = (device: Device): device is Device & { pool: string; source: string } =>
  device.type === 'disk' && device.path !== '/' && device.pool !== undefined && device.source !== undefined;

/** The project of its volumes: its own, unless that borrows another's. */
const volumeProjectOf = ({ project, volumeProject = project }: InstanceSpec): string => volumeProject;

/** Whether the instance has the volume as a disk. */
export const usesVolume = (spec: InstanceSpec, pool: string, volume: VolumeRef): boolean =>
  volumeProjectOf(spec) === volume.project &&
  Object.values(spec.expandedDevices).some(
    (device) => isVolume(device) && device.pool === pool && device.source === volume.name,
  );

/**
 * The spec with its volumes mounted and their directories as sources. Throws LXD's refusal of a volume that is not on this
 * host, and of one that an unprivileged instance could not own: `takesIdmap` says whether this one has an id map.
 */
export async function mountVolumes(host: Host, spec: InstanceSpec, takesIdmap: boolean): Promise<InstanceSpec> {
  const privileged = !takesIdmap || isTrue(spec.expandedConfig['security.privileged']);
  const devices = await Promise.all(
    Object.entries(spec.expandedDevices).map(async ([name, device]): Promise<[string, Device]> => {
      if (!isVolume(device)) return [name, device];
      const { pool, source, ...rest } = device;
      const directory = await mountVolume(host, name, pool, hostVolumeName(volumeProjectOf(spec), source));
      if (privileged) return [name, { ...rest, source: directory }];
      const { idmap } = await (await host.pools.open(pool)).capabilities();
      if (!idmap) throw failed(`Failed to start device "${name}": Required idmapping abilities not available`);
      return [name, { ...rest, source: directory, shift: 'true' }];
    }),
  );
  return { ...spec, expandedDevices: Object.fromEntries(devices) };
}

async function mountVolume(host: Host, device: string, pool: string, volume: string): Promise<string> {
  const where = `Failed add validation for device "${device}": `;
  try {
    return await (await host.pools.open(pool)).custom.mount(volume);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'not_found') throw error;
    throw badRequest(`${where}Failed loading custom volume: ${error.message}`, error);
  }
}
