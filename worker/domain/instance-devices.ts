/**
 * The devices of a container: which options each type takes, and what must hold between them (lxd-api 10.7). Pure.
 *
 * Types that hosts can attach: `disk`, `nic`, and `none`, which masks a profile's device. Anything else is refused by name
 * rather than stored and ignored.
 */
import ipaddr from 'ipaddr.js';
import { checkDeviceName, checkVolumeName, hasLineBreak } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import type { Device, Devices } from './config.ts';
import * as t from './instance-config-types.ts';

const address =
  (family: 4 | 6): t.ValueCheck =>
  (value) => {
    const { IPv4, IPv6 } = ipaddr;
    if (value === 'none') return null;
    const good = family === 4 ? IPv4.isValidFourPartDecimal(value) : IPv6.isValid(value) && !value.includes('%');
    return good ? null : `Not an IPv${family} address "${value}"`;
  };

const routes =
  (family: 4 | 6): t.ValueCheck =>
  (value) => {
    const good = value.split(',').every((part) => {
      const text = part.trim();
      return family === 4 ? ipaddr.IPv4.isValidCIDRFourPartDecimal(text) : ipaddr.IPv6.isValidCIDR(text);
    });
    return good ? null : `Not a list of IPv${family} networks "${value}"`;
  };

/** `10Mbit`, `1Gbit`, or bare bits per second. */
const bitRate: t.ValueCheck = (value) =>
  /^\d{1,15}(bit|[kMGTPE]bit|[KMGTPE]ibit)?$/.test(value) ? null : `Invalid value: ${value}`;

/** `10MB`, or `100iops`; both separated by a comma. */
const diskRate: t.ValueCheck = (value) =>
  value.split(',').every((part) => /^\d{1,15}iops$/.test(part.trim()) || t.size(part.trim()) === null)
    ? null
    : `Invalid value: ${value}`;

const noParentSteps = (path: string) => !path.split('/').includes('..');

const absolutePath: t.ValueCheck = (value) =>
  value.startsWith('/') && noParentSteps(value) ? null : `Invalid path "${value}": must be absolute, without ".."`;

const DISK = new Map<string, t.ValueCheck>([
  ['path', absolutePath],
  ['source', t.anyValue],
  ['pool', t.anyValue],
  ['size', t.size],
  ['size.state', t.size],
  ['readonly', t.bool],
  ['required', t.bool],
  ['recursive', t.bool],
  ['shift', t.bool],
  ['propagation', t.oneOf('private', 'shared', 'slave', 'unbindable', 'rshared', 'rslave', 'runbindable', 'rprivate')],
  ['raw.mount.options', t.anyValue],
  ['limits.read', diskRate],
  ['limits.write', diskRate],
  ['limits.max', diskRate],
  ['boot.priority', t.unsigned],
]);

const NIC = new Map<string, t.ValueCheck>([
  ['network', t.anyValue],
  ['nictype', t.anyValue],
  ['parent', t.interfaceName],
  ['name', t.interfaceName],
  ['hwaddr', t.macAddress],
  ['host_name', t.interfaceName],
  ['mtu', t.integerBetween(68, 65535)],
  ['limits.ingress', bitRate],
  ['limits.egress', bitRate],
  ['limits.max', bitRate],
  ['limits.priority', t.unsigned],
  ['ipv4.address', address(4)],
  ['ipv6.address', address(6)],
  ['ipv4.routes', routes(4)],
  ['ipv6.routes', routes(6)],
  ['ipv4.routes.external', routes(4)],
  ['ipv6.routes.external', routes(6)],
  ['security.mac_filtering', t.bool],
  ['security.ipv4_filtering', t.bool],
  ['security.ipv6_filtering', t.bool],
  ['security.port_isolation', t.bool],
  ['vlan', t.integerBetween(0, 4094)],
  ['vlan.tagged', t.anyValue],
  ['boot.priority', t.unsigned],
  ['maas.subnet.ipv4', t.anyValue],
  ['maas.subnet.ipv6', t.anyValue],
]);

const SUPPORTED = new Map([
  ['disk', DISK],
  ['nic', NIC],
]);

const KNOWN_UNSUPPORTED = [
  'unix-char',
  'unix-block',
  'unix-hotplug',
  'usb',
  'gpu',
  'proxy',
  'infiniband',
  'tpm',
  'pci',
];

const isRoot = (device: Device) => device.path === '/';

function checkDisk(device: Device): string | null {
  if (!device.path) return 'Missing path for disk device';
  if (isRoot(device)) {
    if (device.source) return 'Root disk entry may not have a "source" property set';
    return device.pool ? null : 'Root disk entry must have a "pool" property set';
  }
  if (!device.source) return 'Disk entry is missing the required "source" or "path" property';
  if (device.pool) return checkVolumeDisk(device, device.source);
  if (!device.source.startsWith('/') || !noParentSteps(device.source))
    return 'Source path must be absolute for local sources';
  return device.size ? 'Only the root disk may have a size quota' : null;
}

/** A disk that is a custom volume. */
function checkVolumeDisk(device: Device, source: string): string | null {
  if (source.startsWith('/')) return 'Storage volumes cannot be specified as absolute paths';
  if (device.shift) return 'The "shift" property cannot be used with custom storage volumes';
  if (isTrue(device.recursive)) return 'The recursive option is only supported for additional bind-mounted paths';
  if (device.size) return 'Only the root disk may have a size quota';
  return checkVolumeName(source);
}

/** The custom volumes among the disks: device name, pool and volume. */
export const volumeDisks = (devices: Devices): { device: string; pool: string; volume: string }[] =>
  Object.entries(devices).flatMap(([name, { type, path, pool, source }]) =>
    type === 'disk' && path !== '/' && pool && source ? [{ device: name, pool, volume: source }] : [],
  );

function checkNic(device: Device): string | null {
  if (device.network) {
    for (const key of ['nictype', 'parent', 'mtu'])
      if (device[key]) return `Cannot use "${key}" property in conjunction with "network" property`;
    return null;
  }
  if (!device.nictype) return UNSUPPORTED_TYPE;
  if (device.nictype !== 'bridged') return `NIC type "${device.nictype}" is not supported in this version`;
  return device.parent ? null : 'Invalid value for device option "parent": Required value';
}

/** LXD has a driver per kind of NIC: without one it knows no type. */
const UNSUPPORTED_TYPE = 'Unsupported device type';

/** One device by itself. */
function checkDevice(device: Device): string | null {
  const type = device.type ?? '';
  if (type === '') return 'Missing device type in config';
  if (type === 'none') return null;
  const options = SUPPORTED.get(type);
  if (!options)
    return KNOWN_UNSUPPORTED.includes(type)
      ? `Device type "${type}" is not supported in this version`
      : UNSUPPORTED_TYPE;
  for (const [key, value] of Object.entries(device)) {
    if (key === 'type') continue;
    const check = key.startsWith('user.') && !hasLineBreak(key) ? t.anyValue : options.get(key);
    if (!check) return `Invalid device option "${key.slice(0, 255)}"`;
    if (hasLineBreak(value)) return `Invalid value for device option "${key}": line breaks and NUL are not allowed`;
    const refusal = value === '' ? null : check(value);
    if (refusal !== null) return `Invalid value for device option "${key}": ${refusal}`;
  }
  return type === 'disk' ? checkDisk(device) : checkNic(device);
}

/** The first value that two devices of a kind share, or null. */
function findDuplicate(devices: Devices, type: string, option: string): string | null {
  const seen = new Set<string>();
  for (const device of Object.values(devices)) {
    const value = device.type === type ? device[option] : undefined;
    if (!value) continue;
    if (seen.has(value)) return value;
    seen.add(value);
  }
  return null;
}

/**
 * LXD's refusal of the first bad device, without its `Invalid devices: `; null when all are good. Right for an instance's
 * own devices, a profile's, and the expanded ones.
 */
export function checkDevices(devices: Devices): string | null {
  for (const [name, device] of Object.entries(devices)) {
    const refusal = name === '__proto__' ? `Invalid device name "${name}"` : checkDeviceName(name);
    if (refusal !== null) return refusal;
    const problem = checkDevice(device);
    if (problem !== null) {
      const loading = problem === UNSUPPORTED_TYPE ? `Failed loading device "${name}": ` : '';
      return `Device validation failed for "${name}": ${loading}${problem}`;
    }
  }
  const path = findDuplicate(devices, 'disk', 'path');
  if (path === '/') return 'Failed detecting root disk device: More than one root device found';
  if (path !== null) {
    const [first] = Object.keys(devices)
      .filter((name) => devices[name]?.type === 'disk' && devices[name]?.path === path)
      .sort();
    return `Device validation failed for "${first}": More than one disk device uses the same path "${path}"`;
  }
  for (const option of ['name', 'hwaddr', 'host_name']) {
    const value = findDuplicate(devices, 'nic', option);
    if (value !== null) return `More than one nic device uses the same ${option}: "${value}"`;
  }
  return null;
}

/**
 * The second NIC of an instance on one of the `managed` networks, as LXD refuses it: both would be known there by the
 * instance's name. Null when there is none. Give it expanded devices.
 */
export function checkNicNetworks(devices: Devices, instance: string, managed: ReadonlySet<string>): string | null {
  const seen = new Set<string>();
  for (const [name, device] of Object.entries(devices)) {
    const network = device.type === 'nic' ? device.network || device.parent : undefined;
    if (network === undefined || !managed.has(network)) continue;
    if (seen.has(network))
      return `Failed add validation for device "${name}": Instance DNS name "${instance}" already used on network`;
    seen.add(network);
  }
  return null;
}

/** The first NIC whose network is not `known`, in LXD's words; null when all are. */
export function checkNetworksExist(devices: Devices, known: ReadonlySet<string>): string | null {
  for (const [name, device] of Object.entries(devices)) {
    const [network] = nicNetworks({ [name]: device }).required;
    if (network !== undefined && !known.has(network))
      return `Device validation failed for "${name}": Failed loading device "${name}": Failed to load network "${network}" for project "default": Network not found`;
  }
  return null;
}

/**
 * What a caller confined to projects may not attach: host paths, raw mount options, and host bridges that are not among the
 * cluster's `managedNetworks`. Devices that stay as they were in `previous` pass. Give it expanded devices.
 */
export function checkRestrictedDevices(
  devices: Devices,
  managedNetworks: ReadonlySet<string>,
  previous: Devices = {},
): string | null {
  for (const [name, device] of Object.entries(devices)) {
    if (sameDevice(device, previous[name])) continue;
    if (device.type === 'disk' && ((!isRoot(device) && !device.pool) || device['raw.mount.options']))
      return `Device validation failed for "${name}": Host paths and raw mount options are forbidden`;
    if (device.type === 'nic' && !device.network && !managedNetworks.has(device.parent ?? ''))
      return `Device validation failed for "${name}": Only managed networks are allowed`;
  }
  return null;
}

export function sameDevice(a: Device, b: Device | undefined): boolean {
  if (b === undefined) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** The networks that NICs name: `network` must be managed, a bridge `parent` may be. Each name once, in device order. */
export function nicNetworks(devices: Devices): { required: string[]; possible: string[] } {
  const nics = Object.values(devices).filter((device) => device.type === 'nic');
  const unique = (names: (string | undefined)[]) => [
    ...new Set(names.filter((name): name is string => name !== undefined && name !== '')),
  ];
  const required = unique(nics.map((nic) => nic.network));
  const possible = unique(nics.map((nic) => (nic.network ? undefined : nic.parent)));
  return { required, possible: possible.filter((name) => !required.includes(name)) };
}

/** The names of NIC devices, those that get `volatile.<name>.hwaddr`. */
export const nicNames = (devices: Devices): string[] =>
  Object.entries(devices)
    .filter(([, device]) => device.type === 'nic')
    .map(([name]) => name);
