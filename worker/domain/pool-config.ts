/** Which keys a storage pool may have, and with which values (lxd-api 10.9). Pure; the texts are LXD's. */
import { hasLineBreak } from '#protocol/names.ts';
import { parseBool, parseSizeBytes } from '#protocol/units.ts';
import type { Config } from './config.ts';

export const POOL_DRIVERS = ['zfs', 'btrfs', 'dir'] as const;
export type PoolDriver = (typeof POOL_DRIVERS)[number];

export const isPoolDriver = (name: string): name is PoolDriver => POOL_DRIVERS.some((driver) => driver === name);

/** Keys that differ from member to member; all others are the cluster's. */
export const POOL_MEMBER_KEYS = [
  'size',
  'source',
  'volatile.initial_source',
  'zfs.pool_name',
  'lvm.thinpool_name',
  'lvm.vg_name',
];

export const isPoolMemberKey = (key: string) => POOL_MEMBER_KEYS.includes(key);

/** Fixed once the pool exists: the member's data is there. */
export const POOL_FIXED_KEYS = ['source', 'volatile.initial_source', 'zfs.pool_name'];

/** Null when good, else why not. */
type Check = (value: string) => string | null;

const bool: Check = (value) => (parseBool(value) === null ? `Invalid value for a boolean "${value}"` : null);
const size: Check = (value) => ((parseSizeBytes(value) ?? 0) > 0 ? null : `Invalid size "${value}"`);
const text: Check = () => null;
const oneOf =
  (...allowed: string[]): Check =>
  (value) =>
    allowed.includes(value) || parseBool(value) !== null ? null : `Invalid value "${value}"`;
const mountOptions: Check = (value) =>
  /^[A-Za-z0-9_=,.:/-]+$/.test(value) && !value.startsWith('-') ? null : `Invalid mount options "${value}"`;

/** A ZFS pool or a dataset in one. */
const ZFS_NAME = /^[A-Za-z][A-Za-z0-9_.:-]*(\/[A-Za-z0-9_:][A-Za-z0-9_.:-]*)*$/;
const zfsName: Check = (value) => (ZFS_NAME.test(value) ? null : `Invalid ZFS pool name "${value}"`);

/** An absolute path of a directory, file or device, written without detours. */
function isPlainPath(value: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is looked for
  if (!value.startsWith('/') || value.length > 1024 || /[\u0000-\u001f\u007f]/.test(value)) return false;
  return !value.split('/').some((segment) => segment === '..' || segment === '.');
}
const path: Check = (value) => (isPlainPath(value) ? null : `Source must be an absolute path: "${value}"`);
const pathOrPool: Check = (value) => (isPlainPath(value) || ZFS_NAME.test(value) ? null : `Invalid source "${value}"`);

const COMMON: Record<string, Check> = {
  'volatile.initial_source': text,
  'rsync.bwlimit': size,
  'rsync.compression': bool,
};

const VOLUME: Record<string, Check> = {
  size,
  'security.shared': bool,
  'security.shifted': bool,
  'security.unmapped': bool,
  'snapshots.expiry': text,
  'snapshots.schedule': text,
  'snapshots.pattern': text,
  'block.filesystem': text,
  'block.mount_options': text,
};

const DRIVERS: Record<PoolDriver, { pool: Record<string, Check>; volume: Record<string, Check> }> = {
  zfs: {
    pool: {
      size,
      source: pathOrPool,
      'zfs.pool_name': zfsName,
      'zfs.clone_copy': oneOf('rebase'),
      'zfs.export': bool,
    },
    volume: {
      'zfs.blocksize': size,
      'zfs.remove_snapshots': bool,
      'zfs.use_refquota': bool,
      'zfs.reserve_space': bool,
    },
  },
  btrfs: { pool: { size, source: path, 'btrfs.mount_options': mountOptions }, volume: {} },
  dir: { pool: { source: path }, volume: {} },
};

/** Null when the driver takes this config, else LXD's refusal. Empty values must be gone already. */
export function checkPoolConfig(driver: PoolDriver, config: Config): string | null {
  const rules = { ...COMMON, ...DRIVERS[driver].pool };
  const volumeRules = { ...VOLUME, ...DRIVERS[driver].volume };
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('user.')) continue;
    const check = key.startsWith('volume.') ? find(volumeRules, key.slice('volume.'.length)) : find(rules, key);
    if (check === undefined && !key.startsWith('volume.user.')) return `Invalid option "${key}"`;
    const refusal = hasLineBreak(value) ? 'Line breaks are not allowed' : (check?.(value) ?? null);
    if (refusal !== null) return `Invalid value for option "${key}": ${refusal}`;
  }
  return null;
}

const find = (rules: Record<string, Check>, key: string) => (Object.hasOwn(rules, key) ? rules[key] : undefined);

/** The member's own keys, and the cluster's. */
export function splitPoolConfig(config: Config): { member: Config; cluster: Config } {
  const entries = Object.entries(config);
  return {
    member: Object.fromEntries(entries.filter(([key]) => isPoolMemberKey(key))),
    cluster: Object.fromEntries(entries.filter(([key]) => !isPoolMemberKey(key))),
  };
}
