/**
 * What LXD knows and hosts here do not do (yet). It is refused by name: a limit or a filter that is stored and has no effect
 * would be believed. Pure.
 */
import { parseBool } from '#protocol/units.ts';
import type { Config, Device, Devices } from './config.ts';

const KEYS =
  /^(?:raw\.|security\.(?:syscalls|idmap)\.|security\.devlxd|limits\.hugepages\.|limits\.(?:disk|network|memory\.swap)\.priority$|nvidia\.|snapshots\.schedule)/;

const OPTIONS: Record<string, RegExp> = {
  nic: /^(?:limits\.|ipv[46]\.routes|security\.|vlan|maas\.)/,
  disk: /^(?:limits\.|size\.state$|raw\.mount\.options$|propagation$)/,
};

/** True for a value that asks for something: "false" is what happens anyway. */
const asks = (value: string): boolean => value !== '' && parseBool(value) !== false;

const refusal = (name: string) => `"${name}" is not supported in this version`;

function findOption(device: Device, previous: Device | undefined): string | undefined {
  const options = OPTIONS[device.type ?? ''];
  return Object.keys(device).find(
    (key) => options?.test(key) === true && asks(device[key] ?? '') && device[key] !== previous?.[key],
  );
}

/** The first such key, as the text of a refusal; null when there is none. Values that stay as in `previous` pass. */
export function findUnsupportedConfig(config: Config, previous: Config = {}): string | null {
  const key = Object.keys(config).find(
    (name) => KEYS.test(name) && asks(config[name] ?? '') && config[name] !== previous[name],
  );
  return key === undefined ? null : `Configuration key ${refusal(key)}`;
}

/** The same for the options of devices. */
export function findUnsupportedDevice(devices: Devices, previous: Devices = {}): string | null {
  for (const [name, device] of Object.entries(devices)) {
    const option = findOption(device, previous[name]);
    if (option !== undefined) return `Device validation failed for "${name}": Device option ${refusal(option)}`;
  }
  return null;
}
