/** Devices of an instance that are more than a NIC or the root disk: bind mounts and device nodes from the host. */
import { type Stats, statSync } from 'node:fs';
import { isAbsolute, posix } from 'node:path';
import type { InstanceSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { isTrue } from '#protocol/units.ts';
import { mountField } from './config-file.ts';

export interface HostDevices {
  /** Values of `lxc.mount.entry`. */
  mounts: string[];
  /** Values of `lxc.cgroup*.devices.allow`. */
  allowed: string[];
}

type Device = Record<string, string>;

const refuse = (name: string, reason: string) => badRequest(`Invalid devices: Device "${name}": ${reason}`);

/** The path inside, without its first slash: liblxc takes mount targets relative to the root, and follows no link there. */
function target(name: string, path: string | undefined): string {
  if (!path?.startsWith('/')) throw refuse(name, 'Path must be absolute');
  const clean = posix.normalize(path).replace(/^\/+|\/+$/g, '');
  if (clean === '' || path.split('/').includes('..')) throw refuse(name, 'Invalid path');
  return clean;
}

function source(name: string, path: string | undefined, required: boolean): Stats | null {
  if (path === undefined || !isAbsolute(path)) throw refuse(name, 'Source must be an absolute path on the host');
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined && required)
    throw badRequest(`Failed add validation for device "${name}": Missing source path "${path}" for disk "${name}"`);
  return stats ?? null;
}

/** A directory or file of the host in the instance. */
export interface DiskMount {
  device: string;
  /** Null when there is none, which is fine. */
  source: string | null;
  /** Inside, relative to the root. */
  path: string;
  isDirectory: boolean;
  readonly: boolean;
  recursive: boolean;
  /** With the instance's id map, where it has one. */
  shift: boolean;
}

/** The disks of the instance but for its root, with where they are inside. Pure. */
export const disksOf = (spec: InstanceSpec): { name: string; path: string; device: Device }[] =>
  Object.entries(spec.expandedDevices)
    .filter(([, device]) => device.type === 'disk' && device.path !== '/')
    .map(([name, device]) => ({ name, path: target(name, device.path), device }));

/** The disk as it can be mounted now. Throws `bad_request` when it cannot. */
export function diskMount(name: string, device: Device): DiskMount {
  // A volume comes with the directory of its content instead.
  if (device.pool !== undefined) throw refuse(name, 'Storage volume is not mounted');
  const path = target(name, device.path);
  const stats = source(name, device.source, device.required !== 'false');
  return {
    device: name,
    source: stats === null ? null : (device.source ?? ''),
    path,
    isDirectory: stats?.isDirectory() ?? true,
    readonly: isTrue(device.readonly),
    recursive: isTrue(device.recursive),
    shift: isTrue(device.shift),
  };
}

function addDisk(name: string, device: Device, privileged: boolean, found: HostDevices): void {
  const disk = diskMount(name, device);
  if (disk.source === null) return;
  const options = [
    disk.recursive ? 'rbind' : 'bind',
    disk.isDirectory ? 'create=dir' : 'create=file',
    ...(disk.readonly ? ['ro'] : []),
    ...(disk.shift && !privileged ? ['idmap=container'] : []),
  ];
  found.mounts.push(`${mountField(disk.source)} ${mountField(disk.path)} none ${options.join(',')} 0 0`);
}

function addNode(name: string, device: Device, found: HostDevices): void {
  const path = device.source ?? device.path;
  const stats = source(name, path, device.required !== 'false');
  if (stats === null) return;
  const isRight = device.type === 'unix-char' ? stats.isCharacterDevice() : stats.isBlockDevice();
  if (!isRight) throw refuse(name, `"${path}" is not a ${device.type} device`);
  const [major, minor] = [(stats.rdev >> 8) & 0xfff, (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00)];
  found.allowed.push(`${device.type === 'unix-char' ? 'c' : 'b'} ${major}:${minor} rwm`);
  const inside = mountField(target(name, device.path ?? device.source));
  found.mounts.push(`${mountField(path ?? '')} ${inside} none bind,create=file 0 0`);
}

/** What the expanded devices ask of the host. Throws `bad_request` for a kind that this driver cannot attach. */
export function hostDevices(spec: InstanceSpec, privileged: boolean): HostDevices {
  const found: HostDevices = { mounts: [], allowed: [] };
  for (const [name, device] of Object.entries(spec.expandedDevices)) {
    switch (device.type) {
      case 'none':
      case 'nic':
        break;
      case 'disk':
        if (device.path !== '/') addDisk(name, device, privileged, found);
        break;
      case 'unix-char':
      case 'unix-block':
        addNode(name, device, found);
        break;
      default:
        throw refuse(name, `Unsupported device type "${device.type ?? ''}"`);
    }
  }
  return found;
}
