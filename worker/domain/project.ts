/** Project configuration: features, limits, restrictions (lxd-api 10.11). Pure. */
import { isTrue, parseBool, parseSizeBytes } from '#protocol/units.ts';
import type { Config } from './config.ts';

const FEATURES = ['features.images', 'features.networks', 'features.profiles', 'features.storage.volumes'] as const;
const LATER_FEATURES = ['features.networks.zones', 'features.storage.buckets'];

const COUNTS = ['instances', 'containers', 'virtual-machines', 'cpu', 'processes', 'networks'].map(
  (n) => `limits.${n}`,
);
const SIZES = ['limits.memory', 'limits.disk'];
const FREE = [
  'backups.compression_algorithm',
  'images.auto_update_cached',
  'images.auto_update_interval',
  'images.compression_algorithm',
  'images.default_architecture',
  'images.remote_cache_expiry',
];

/** What a new project has unless it says otherwise. */
export const withProjectDefaults = (config: Config): Config => ({
  'features.images': 'true',
  'features.profiles': 'true',
  'features.storage.volumes': 'true',
  ...config,
});

/** LXD's refusal of the first bad key or value, or null. */
export function checkProjectConfig(config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    const refusal = checkKey(key, value);
    if (refusal !== null) return `Invalid project configuration key "${key}": ${refusal}`;
  }
  return null;
}

function checkKey(key: string, value: string): string | null {
  const feature = (FEATURES as readonly string[]).includes(key) || LATER_FEATURES.includes(key);
  if (feature) return parseBool(value) === null ? `Invalid value "${value}" (not a boolean)` : null;
  if (COUNTS.includes(key)) return value === '' || /^\d{1,9}$/.test(value) ? null : `Invalid value "${value}"`;
  if (SIZES.includes(key)) return value === '' || parseSizeBytes(value) !== null ? null : `Invalid value "${value}"`;
  // A restriction that nothing enforces would be worse than none.
  if (key === 'restricted' || key.startsWith('restricted.')) {
    return value === '' || parseBool(value) === false ? null : 'Restricted projects are not supported in this version';
  }
  const known = FREE.includes(key) || key.startsWith('user.');
  return known ? null : 'Unknown key';
}

/** LXD forbids changing what an existing resource's place depends on while there are any. */
export const changedFeatures = (before: Config, after: Config): string[] =>
  [...FEATURES, ...LATER_FEATURES].filter((key) => isTrue(before[key]) !== isTrue(after[key]));

/** A project that has the feature off uses the default project's. */
export const featureProject = (
  project: { name: string; config: Config },
  feature: 'images' | 'profiles' | 'storage.volumes' | 'networks',
): string => (project.name === 'default' || isTrue(project.config[`features.${feature}`]) ? project.name : 'default');
