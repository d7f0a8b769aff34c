/** What an evacuation does with an instance (lxd-api 12.3). Pure. */
import type { Config, Devices } from './config.ts';
import { isInSubnet } from './subnets.ts';

export type EvacuationAction = 'stop' | 'migrate';

/** `''` and `auto` leave it to each instance. */
export const EVACUATION_MODES = ['', 'auto', 'stop', 'migrate', 'live-migrate'];

/**
 * By the mode of the request, else by the instance's `cluster.evacuate`, else by whether all its devices can move. Containers
 * are not moved live: they stop, move and start. `config` and `devices` are the expanded ones.
 */
export function evacuationAction(
  mode: string,
  config: Config,
  devices: Devices,
  isManaged: (network: string) => boolean,
): EvacuationAction {
  const asked = mode === '' || mode === 'auto' ? (config['cluster.evacuate'] ?? 'auto') : mode;
  if (asked === 'stop') return 'stop';
  if (asked === 'migrate' || asked === 'live-migrate') return 'migrate';
  return canMove(devices, isManaged) ? 'migrate' : 'stop';
}

/** True when no device is bound to the host: only the root disk, and NICs of networks that other members have, too. */
export function canMove(devices: Devices, isManaged: (network: string) => boolean): boolean {
  return Object.values(devices).every((device) => {
    if (device.type === 'none') return true;
    if (device.type === 'disk') return device.path === '/';
    if (device.type !== 'nic') return false;
    return device.network !== undefined || (device.parent !== undefined && isManaged(device.parent));
  });
}

/**
 * Why the NICs' own addresses keep the instance from a member; null: they do not. `networkThere` is a network's config as that
 * member has it, undefined where it has none. Networks whose subnet is not known yet are left to the host to judge.
 */
export function addressRefusal(devices: Devices, networkThere: (network: string) => Config | undefined): string | null {
  for (const device of Object.values(devices)) {
    const name = device.type === 'nic' ? (device.network ?? device.parent) : undefined;
    const config = name === undefined ? undefined : networkThere(name);
    for (const key of ['ipv4.address', 'ipv6.address'] as const) {
      const address = device[key];
      const subnet = config?.[key];
      if (!address || !subnet?.includes('/') || isInSubnet(address, subnet)) continue;
      return `Device IP address "${address}" not within network "${name}" subnet`;
    }
  }
  return null;
}
