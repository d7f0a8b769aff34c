/** What a profile may hold (lxd-api 10.6, 10.7): an instance's keys and devices, but nothing that belongs to one instance. Pure. */
import type { Config, Devices } from './config.ts';
import { checkInstanceConfig, checkRestrictedConfig } from './instance-config.ts';
import { checkDevices, checkNetworksExist, checkRestrictedDevices } from './instance-devices.ts';
import { findUnsupportedConfig, findUnsupportedDevice } from './instance-unsupported.ts';

type Content = { config: Config; devices: Devices };

/** LXD's refusal, or null. Empty values must be gone already. */
export function checkProfile({ config, devices }: Content): string | null {
  for (const key of Object.keys(config)) {
    if (key.startsWith('volatile.')) return 'Volatile keys can only be set on instances';
    if (key.startsWith('image.')) return 'Image keys can only be set on instances';
  }
  return checkInstanceConfig(config) ?? checkDevices(devices);
}

/** The first pool or managed network that a device names and that does not exist, in LXD's words; null when all do. */
export function checkReferences(
  devices: Devices,
  known: { pools: ReadonlySet<string>; networks: ReadonlySet<string> },
): string | null {
  for (const [name, device] of Object.entries(devices)) {
    const pool = device.type === 'disk' ? device.pool : undefined;
    if (pool && !known.pools.has(pool)) {
      return `Device validation failed for "${name}": Failed to get storage pool "${pool}": Storage pool not found`;
    }
  }
  return checkNetworksExist(devices, known.networks);
}

/** What a caller confined to projects may not put into a profile, unless it is there `previously`; null when all is fine. */
export const checkRestrictedProfile = (
  content: Content,
  managedNetworks: ReadonlySet<string>,
  previous: Content,
): string | null =>
  checkRestrictedConfig(content.config, previous.config) ??
  checkRestrictedDevices(content.devices, managedNetworks, previous.devices);

/** What LXD has and hosts here do not do; null when there is none, or none that is not there `previously`. */
export const findUnsupported = (content: Content, previous: Content): string | null =>
  findUnsupportedConfig(content.config, previous.config) ?? findUnsupportedDevice(content.devices, previous.devices);
