/** The server's configuration keys: which there are, whose they are, what values they take (lxd-api 10.10). Pure. */
import { parseBool } from '#protocol/units.ts';
import type { Config } from './config.ts';
import { OIDC_KEYS } from './oidc.ts';
import { PLACEMENT_KEYS } from './placement-policy.ts';

type Check = (value: string) => string | null;

const any: Check = () => null;
const bool: Check = (value) => (parseBool(value) === null ? 'invalid boolean' : null);
const integer =
  (minimum: number): Check =>
  (value) =>
    !/^-?\d{1,15}$/.test(value)
      ? 'invalid integer'
      : Number(value) < minimum
        ? `Value must be at least ${minimum}`
        : null;
/** LXD's words; the link's own heartbeat comes every 5 s. */
const offlineThreshold: Check = (value) => {
  if (!/^-?\d{1,9}$/.test(value)) return 'Offline threshold is not a number';
  return Number(value) < 10 ? "Value must be greater than '10'" : null;
};
const duration: Check = (value) => (parseExpiry(value) === null ? `Invalid expiry expression` : null);
const compression: Check = (value) =>
  /^(none|bzip2|gzip|lz4|lzma|xz|zstd|squashfs)( -\d+)?$/.test(value) ? null : 'Invalid compression algorithm';

const CLUSTER_KEYS = new Map<string, Check>([
  ['backups.compression_algorithm', compression],
  ['cluster.images_minimal_replica', integer(-1)],
  ['cluster.join_token_expiry', duration],
  ['cluster.max_standby', integer(0)],
  ['cluster.max_voters', integer(3)],
  ['cluster.offline_threshold', offlineThreshold],
  ['core.bgp_asn', integer(0)],
  ['core.https_allowed_credentials', bool],
  ['core.https_allowed_headers', any],
  ['core.https_allowed_methods', any],
  ['core.https_allowed_origin', any],
  ['core.https_trusted_proxy', any],
  ['core.local_access', bool],
  ['core.metrics_authentication', bool],
  ['core.proxy_http', any],
  ['core.proxy_https', any],
  ['core.proxy_ignore_hosts', any],
  ['core.remote_token_expiry', duration],
  ['core.shutdown_timeout', integer(0)],
  ['core.trust_ca_certificates', bool],
  ['core.trust_password', any],
  ['images.auto_update_cached', bool],
  ['images.auto_update_interval', integer(0)],
  ['images.compression_algorithm', compression],
  ['images.default_architecture', any],
  ['images.remote_cache_expiry', integer(0)],
  ['maas.api.key', any],
  ['maas.api.url', any],
  ...OIDC_KEYS,
  ...PLACEMENT_KEYS,
]);

const MEMBER_KEYS = new Set([
  'core.https_address',
  'core.bgp_address',
  'core.bgp_routerid',
  'core.debug_address',
  'core.dns_address',
  'core.metrics_address',
  'cluster.https_address',
  'maas.machine',
  'storage.backups_volume',
  'storage.images_volume',
]);

const FREE_PREFIXES = ['user.', 'candid.', 'rbac.', 'network.ovn.'];

export const TRUST_PASSWORD = 'core.trust_password';

/** True for keys that each member has its own value of. */
export const isMemberKey = (key: string): boolean => MEMBER_KEYS.has(key);

/** LXD's refusal of the first bad key or value, or null. An empty value removes a key, so it is always good. */
export function checkServerConfig(config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    const refuse = (why: string) => `cannot set '${key}' to '${value}': ${why}`;
    const check = findCheck(key);
    if (check === null) return refuse('unknown key');
    const refusal = value === '' ? null : check(value);
    // The value of a secret has no place in an error text.
    if (refusal !== null) return key === TRUST_PASSWORD ? `cannot set '${key}': ${refusal}` : refuse(refusal);
  }
  return null;
}

function findCheck(key: string): Check | null {
  if (MEMBER_KEYS.has(key)) return any;
  if (FREE_PREFIXES.some((prefix) => key.startsWith(prefix) && key.length > prefix.length)) return any;
  return CLUSTER_KEYS.get(key) ?? null;
}

const UNIT_MS: Record<string, number> = {
  S: 1_000,
  M: 60_000,
  H: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  m: 30 * 86_400_000,
  y: 365 * 86_400_000,
};

/** LXD's expiry expressions (`1M 2H 3d 4w 5m 6y`) in milliseconds; null for anything else. */
export function parseExpiry(text: string): number | null {
  const parts = text.trim().split(/\s+/);
  let total = 0;
  for (const part of parts) {
    const match = /^(\d{1,6})([SMHdwmy])$/.exec(part);
    const unit = UNIT_MS[match?.[2] ?? ''];
    if (match?.[1] === undefined || unit === undefined) return null;
    total += Number(match[1]) * unit;
  }
  return total;
}
