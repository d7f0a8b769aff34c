/** Config and device maps, and how profiles and an instance's own make the expanded ones (lxd-api 10.1). Pure. */

export type Config = Record<string, string>;
export type Device = Record<string, string>;
export type Devices = Record<string, Device>;

type Layer = { config: Config; devices: Devices };

/** Profiles in order, later wins key by key, then the instance's own. */
export function expandConfig(profiles: readonly Layer[], own: Config): Config {
  return Object.assign({}, ...profiles.map((profile) => profile.config), own);
}

/** By device name a later definition replaces the whole device; `type: none` masks it. */
export function expandDevices(profiles: readonly Layer[], own: Devices): Devices {
  const merged: Devices = Object.assign({}, ...profiles.map((profile) => profile.devices), own);
  return Object.fromEntries(Object.entries(merged).filter(([, device]) => device.type !== 'none'));
}

/** The root disk: exactly one `disk` device on `/` with a pool. Null when there is none or more than one. */
export function findRootDisk(devices: Devices): { name: string; device: Device } | null {
  const roots = Object.entries(devices).filter(([, d]) => d.type === 'disk' && d.path === '/' && d.pool !== undefined);
  const [root] = roots;
  return roots.length === 1 && root !== undefined ? { name: root[0], device: root[1] } : null;
}

/** Without options that have an empty value: in LXD that is how an option is unset. */
export const dropEmptyOptions = (devices: Devices): Devices =>
  Object.fromEntries(
    Object.entries(devices).map(([name, device]) => [
      name,
      Object.fromEntries(Object.entries(device).filter(([, value]) => value !== '')),
    ]),
  );

type Patch<T> = Record<string, T | null>;

/** What turns one config into the other (RFC 7396); null removes a key. */
export function configPatch(before: Config, after: Config): Patch<string> {
  const changed = Object.entries(after).filter(([key, value]) => before[key] !== value);
  const removed = Object.keys(before).filter((key) => after[key] === undefined);
  return { ...Object.fromEntries(changed), ...Object.fromEntries(removed.map((key) => [key, null])) };
}

/** The same for devices, whose options are patched one by one. */
export function devicesPatch(before: Devices, after: Devices): Patch<Patch<string>> {
  const changed = Object.entries(after).flatMap(([name, device]): [string, Patch<string>][] => {
    const patch = configPatch(before[name] ?? {}, device);
    return before[name] === undefined || Object.keys(patch).length > 0 ? [[name, patch]] : [];
  });
  const removed = Object.keys(before).filter((name) => after[name] === undefined);
  return { ...Object.fromEntries(changed), ...Object.fromEntries(removed.map((name) => [name, null])) };
}
