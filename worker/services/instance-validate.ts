/** The checks that creating and changing an instance share. Every refusal has LXD's text. */
import { type AppError, badRequest, failed } from '#protocol/errors.ts';
import { type Config, type Devices, expandConfig, expandDevices, findRootDisk } from '#worker/domain/config.ts';
import { checkInstanceConfig, checkRestrictedConfig } from '#worker/domain/instance-config.ts';
import {
  checkDevices,
  checkNetworksExist,
  checkNicNetworks,
  checkRestrictedDevices,
  nicNames,
} from '#worker/domain/instance-devices.ts';
import { generateHwaddr } from '#worker/domain/instance-names.ts';
import { findUnsupportedConfig, findUnsupportedDevice } from '#worker/domain/instance-unsupported.ts';
import type { ProfileLayer } from '#worker/state/instance-queries.ts';
import type { NetworkRow } from '#worker/state/networks.ts';
import { forbid } from './instances.ts';

/** What stands before a refusal of a key or device: LXD's layers tell where it happened. */
export interface Prefixes {
  config: string;
  devices: string;
}

/** Before a refusal that LXD's instance driver would make. */
export const INITIALISING = 'Failed creating instance record: Failed initialising instance: ';
export const CREATING: Prefixes = {
  config: 'Failed creating instance record: ',
  devices: `${INITIALISING}Invalid devices: `,
};
export const UPDATING: Prefixes = { config: 'Invalid config: ', devices: 'Invalid devices: ' };

export interface Wanted {
  /** The instance's name. */
  name: string;
  config: Config;
  devices: Devices;
  layers: readonly ProfileLayer[];
  /** The caller is confined to projects. */
  restricted: boolean;
  networks: readonly NetworkRow[];
  /** Expanded config and devices as they are: what stays needs no right. */
  previous?: { config: Config; devices: Devices };
}

export interface Expanded {
  config: Config;
  devices: Devices;
  root: { name: string; pool: string };
}

/** LXD's answer to a profile that does not exist, when an instance is created. */
const requestedProfile = (name: string) => failed(`Requested profile "${name}" doesn't exist`);

/** The named profiles in order. Throws `missing` for one that does not exist, 400 for one named twice. */
export function pickProfiles(
  names: readonly string[],
  layers: readonly ProfileLayer[],
  missing: (name: string) => AppError = requestedProfile,
): ProfileLayer[] {
  if (new Set(names).size !== names.length) throw badRequest('Duplicate profile found in request');
  return names.map((name) => {
    const layer = layers.find((candidate) => candidate.name === name);
    if (!layer) throw missing(name);
    return layer;
  });
}

/** Own keys and devices without regard to profiles: what can be refused before anything is read. */
export function validateOwn({ config, devices }: { config: Config; devices: Devices }, prefixes: Prefixes): void {
  const badConfig = checkInstanceConfig(config);
  if (badConfig !== null) throw badRequest(`${prefixes.config}${badConfig}`);
  const badDevices = checkDevices(devices);
  if (badDevices !== null) throw badRequest(`${prefixes.devices}${badDevices}`);
}

/**
 * The expanded instance, with its one root disk. Throws `bad_request`, or `forbidden` for what a restricted caller may not
 * have.
 */
export function validateExpanded(wanted: Wanted, prefixes: Prefixes): Expanded {
  const config = expandConfig(wanted.layers, wanted.config);
  const devices = expandDevices(wanted.layers, wanted.devices);
  validateOwn({ config, devices }, prefixes);
  const managed = new Set(wanted.networks.map((network) => network.name));
  if (wanted.restricted) {
    forbid(checkRestrictedConfig(config, wanted.previous?.config));
    forbid(checkRestrictedDevices(devices, managed, wanted.previous?.devices));
  }
  const unsupported = findUnsupportedConfig(config, wanted.previous?.config);
  if (unsupported !== null) throw badRequest(`${prefixes.config}${unsupported}`);
  const unsupportedDevice = findUnsupportedDevice(devices, wanted.previous?.devices);
  if (unsupportedDevice !== null) throw badRequest(`${prefixes.devices}${unsupportedDevice}`);
  const missing = checkNetworksExist(devices, managed);
  if (missing !== null) throw badRequest(`${prefixes.devices}${missing}`);
  const twice = checkNicNetworks(devices, wanted.name, managed);
  if (twice !== null) throw badRequest(`${prefixes === CREATING ? INITIALISING : ''}${twice}`);
  const root = findRootDisk(devices);
  if (!root?.device.pool)
    throw badRequest(
      prefixes === CREATING
        ? `${INITIALISING}Failed getting root disk: No root device could be found`
        : 'Invalid devices: Failed detecting root disk device: No root device could be found',
    );
  return { config, devices, root: { name: root.name, pool: root.device.pool } };
}

/** MAC addresses for NICs that have none, neither by device option nor from before. */
export function missingHwaddrs(config: Config, devices: Devices): Config {
  const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
  const missing = nicNames(devices).filter((name) => !devices[name]?.hwaddr && !config[`volatile.${name}.hwaddr`]);
  return Object.fromEntries(missing.map((name) => [`volatile.${name}.hwaddr`, generateHwaddr(random)]));
}
