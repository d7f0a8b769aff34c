/** Which keys a custom volume may have (lxd-api 10.9), and how a pool's defaults become a volume's. Pure; the texts are LXD's. */
import { hasLineBreak } from '#protocol/names.ts';
import { isTrue, parseBool, parseSizeBytes } from '#protocol/units.ts';
import type { Config } from './config.ts';

type Check = (value: string) => string | null;

const bool: Check = (value) => (parseBool(value) === null ? `Invalid value for a boolean "${value}"` : null);
const text: Check = () => null;
const size: Check = (value) => (parseSizeBytes(value) === null ? `Invalid size "${value}"` : null);
/** What would be accepted and do nothing. */
const never: Check = (value) => (value === '' ? null : 'Not supported in this version');
const neverTrue: Check = (value) => bool(value) ?? (isTrue(value) ? 'Not supported in this version' : null);

const KEYS: Record<string, Check> = {
  size,
  // Every volume is mounted with its instance's id map, so that any number of them may share it.
  'security.shifted': bool,
  'security.unmapped': neverTrue,
  'snapshots.expiry': text,
  'snapshots.pattern': text,
  'snapshots.schedule': never,
};
const ZFS_KEYS: Record<string, Check> = {
  'zfs.blocksize': never,
  'zfs.remove_snapshots': bool,
  'zfs.reserve_space': neverTrue,
  'zfs.use_refquota': bool,
};

const checkOf = (driver: string, key: string): Check | undefined => {
  const keys = driver === 'zfs' ? { ...KEYS, ...ZFS_KEYS } : KEYS;
  return Object.hasOwn(keys, key) ? keys[key] : undefined;
};

/** Null when a volume of this driver may have the config, else LXD's refusal. Empty values must be gone already. */
export function checkVolumeConfig(driver: string, config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    const check = key.startsWith('user.') ? text : checkOf(driver, key);
    if (check === undefined) return `Invalid option "${key}"`;
    const refusal = hasLineBreak(value) ? 'Line breaks are not allowed' : check(value);
    if (refusal !== null) return `Invalid value for option "${key}": ${refusal}`;
  }
  return null;
}

/** What was asked for, and beside it the pool's `volume.*` keys that mean something for the volume. */
export function withPoolDefaults(driver: string, pool: Config, asked: Config): Config {
  const defaults = Object.entries(pool).flatMap(([key, value]): [string, string][] => {
    const own = key.startsWith('volume.') ? key.slice('volume.'.length) : '';
    const check = own.startsWith('user.') ? text : checkOf(driver, own);
    return check?.(value) === null ? [[own, value]] : [];
  });
  return { ...Object.fromEntries(defaults), ...asked };
}

/** Bytes that the volume may hold; null: no limit. */
export const limitOf = (config: Config): number | null => parseSizeBytes(config.size ?? '') || null;
