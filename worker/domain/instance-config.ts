/**
 * The config keys of an instance: which there are, what values they take, who may set them (lxd-api 10.6). Pure.
 *
 * Values end up in config files of liblxc, dnsmasq and cloud-init on the hosts, so a line break or NUL is refused wherever
 * a key is not multi-line by nature, also in keys with free values.
 */
import { hasLineBreak } from '#protocol/names.ts';
import { isTrue } from '#protocol/units.ts';
import type { Config } from './config.ts';
import * as t from './instance-config-types.ts';

/** Keys with one fixed name. */
const KEYS = new Map<string, t.ValueCheck>([
  ['boot.autostart', t.bool],
  ['boot.autostart.delay', t.integer],
  ['boot.autostart.priority', t.integer],
  ['boot.stop.priority', t.integer],
  ['boot.host_shutdown_timeout', t.integer],
  ['cloud-init.user-data', t.anyValue],
  ['cloud-init.vendor-data', t.anyValue],
  ['cloud-init.network-config', t.anyValue],
  ['cluster.evacuate', t.oneOf('auto', 'migrate', 'live-migrate', 'stop')],
  ['limits.cpu', t.cpuLimit],
  ['limits.cpu.allowance', t.cpuAllowance],
  ['limits.cpu.priority', t.integerBetween(0, 10)],
  ['limits.disk.priority', t.integerBetween(0, 10)],
  ['limits.hugepages.64KB', t.size],
  ['limits.hugepages.1MB', t.size],
  ['limits.hugepages.2MB', t.size],
  ['limits.hugepages.1GB', t.size],
  ['limits.memory', t.memoryLimit],
  ['limits.memory.enforce', t.oneOf('soft', 'hard')],
  ['limits.memory.swap', t.bool],
  ['limits.memory.swap.priority', t.integerBetween(0, 10)],
  ['limits.network.priority', t.integerBetween(0, 10)],
  ['limits.processes', t.unsigned],
  ['linux.kernel_modules', t.nameList],
  ['migration.incremental.memory', t.bool],
  ['migration.incremental.memory.goal', t.unsigned],
  ['migration.incremental.memory.iterations', t.unsigned],
  ['nvidia.runtime', t.bool],
  ['nvidia.driver.capabilities', t.anyValue],
  ['nvidia.require.cuda', t.anyValue],
  ['nvidia.require.driver', t.anyValue],
  ['raw.apparmor', t.anyValue],
  ['raw.idmap', t.anyValue],
  ['raw.lxc', t.anyValue],
  ['raw.seccomp', t.anyValue],
  ['security.devlxd', t.bool],
  ['security.devlxd.images', t.bool],
  ['security.idmap.base', t.unsigned],
  ['security.idmap.isolated', t.bool],
  ['security.idmap.size', t.unsigned],
  ['security.nesting', t.bool],
  ['security.privileged', t.bool],
  ['security.protection.delete', t.bool],
  ['security.protection.shift', t.bool],
  ['security.syscalls.allow', t.anyValue],
  ['security.syscalls.deny', t.anyValue],
  ['security.syscalls.deny_default', t.bool],
  ['security.syscalls.deny_compat', t.bool],
  ['security.syscalls.blacklist', t.anyValue],
  ['security.syscalls.blacklist_default', t.bool],
  ['security.syscalls.blacklist_compat', t.bool],
  ['security.syscalls.whitelist', t.anyValue],
  ['security.syscalls.intercept.bpf', t.bool],
  ['security.syscalls.intercept.bpf.devices', t.bool],
  ['security.syscalls.intercept.mknod', t.bool],
  ['security.syscalls.intercept.mount', t.bool],
  ['security.syscalls.intercept.mount.allowed', t.anyValue],
  ['security.syscalls.intercept.mount.fuse', t.anyValue],
  ['security.syscalls.intercept.mount.shift', t.bool],
  ['security.syscalls.intercept.sched_setscheduler', t.bool],
  ['security.syscalls.intercept.setxattr', t.bool],
  ['security.syscalls.intercept.sysinfo', t.bool],
  ['snapshots.expiry', t.expiry],
  ['snapshots.pattern', t.anyValue],
  ['snapshots.schedule', t.schedule],
  ['snapshots.schedule.stopped', t.bool],
  ['volatile.apply_template', t.anyValue],
  ['volatile.apply_quota', t.anyValue],
  ['volatile.base_image', t.anyValue],
  ['volatile.cloud-init.instance-id', t.anyValue],
  ['volatile.evacuate.origin', t.anyValue],
  ['volatile.idmap.base', t.anyValue],
  ['volatile.idmap.current', t.anyValue],
  ['volatile.idmap.next', t.anyValue],
  ['volatile.last_state.idmap', t.anyValue],
  ['volatile.last_state.power', t.anyValue],
  ['volatile.uuid', t.uuid],
  ['volatile.vsock_id', t.unsigned],
]);

/** What a device may have noted about itself: `volatile.<device>.<field>`. */
const DEVICE_VOLATILE = new Map<string, t.ValueCheck>([
  ['hwaddr', t.macAddress],
  ['name', t.interfaceName],
  ['host_name', t.interfaceName],
  ['mtu', t.unsigned],
  ['created', t.anyValue],
  ['id', t.anyValue],
  ['vlan', t.unsigned],
  ['spoofcheck', t.anyValue],
  ['apply_quota', t.anyValue],
  ['ceph_rbd', t.anyValue],
  ['driver', t.anyValue],
  ['uuid', t.anyValue],
]);

/** Sysctls that every container has its own of; all others would change the host. */
const NAMESPACED_SYSCTL =
  /^(?:(?:net|user|fs\.mqueue)(?:\.[a-zA-Z0-9_/-]+)+|kernel\.(?:shm[a-z_]+|msg[a-z_]+|sem|hostname|domainname))$/;

/** Families of keys: what follows the prefix, and the value. */
const FAMILIES: { prefix: string; rest: RegExp; check: t.ValueCheck }[] = [
  { prefix: 'user.', rest: /^.+$/, check: t.anyValue },
  { prefix: 'image.', rest: /^.+$/, check: t.anyValue },
  { prefix: 'environment.', rest: /^[^\s=]+$/, check: t.anyValue },
  { prefix: 'linux.sysctl.', rest: NAMESPACED_SYSCTL, check: t.anyValue },
  {
    prefix: 'linux.sysctl.',
    rest: /^[a-zA-Z0-9_./-]+$/,
    check: () => 'This sysctl belongs to the host and cannot be set',
  },
  { prefix: 'limits.kernel.', rest: /^[a-z]+$/, check: t.kernelLimit },
];

const MULTI_LINE = /^(user\.|image\.|cloud-init\.|raw\.|security\.syscalls\.(allow|deny|blacklist|whitelist)$)/;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused
const BAD_KEY = /[\u0000-\u001f\u007f]/;

/** The check of a key's values, or null for a key that does not exist. */
function findCheck(key: string): t.ValueCheck | null {
  if (key.length > 255 || BAD_KEY.test(key)) return null;
  const known = KEYS.get(key);
  if (known) return known;
  for (const { prefix, rest, check } of FAMILIES)
    if (key.startsWith(prefix) && rest.test(key.slice(prefix.length))) return check;
  const device = /^volatile\.([-_./:a-zA-Z0-9]{1,63}?)\.(last_state\.[a-z0-9_.]+|[a-z_]+)$/.exec(key);
  if (device?.[2]?.startsWith('last_state.')) return t.anyValue;
  return DEVICE_VOLATILE.get(device?.[2] ?? '') ?? null;
}

/** Drops keys with an empty value: in LXD that is how a key is unset. */
export const dropEmpty = (config: Config): Config =>
  Object.fromEntries(Object.entries(config).filter(([, value]) => value !== ''));

/** LXD's refusal of the first bad key or value, without its `Invalid config: `; null when all are good. */
export function checkInstanceConfig(config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    const check = findCheck(key);
    if (check === null) return `Unknown configuration key: ${key.slice(0, 255)}`;
    if (value.includes('\0') || (hasLineBreak(value) && !MULTI_LINE.test(key)))
      return `Invalid value for "${key}": line breaks and NUL are not allowed`;
    const refusal = value === '' ? null : check(value);
    if (refusal !== null) return refusal;
  }
  return isTrue(config['security.privileged']) && isTrue(config['security.idmap.isolated'])
    ? 'security.idmap.isolated and security.privileged are mutually exclusive'
    : null;
}

/** LXD's "low-level" options: with any of them a container's owner can become root on the host. */
const isLowLevel = (key: string) =>
  key.startsWith('raw.') ||
  key.startsWith('security.syscalls.') ||
  key.startsWith('linux.sysctl.') ||
  key.startsWith('volatile.idmap.') ||
  ['linux.kernel_modules', 'security.idmap.base', 'security.idmap.size', 'volatile.last_state.idmap'].includes(key);

/**
 * What a caller confined to projects may not set: low-level options and `security.privileged`. Values that stay as they
 * were in `previous` pass, so that such a caller can still change the rest of an instance an administrator has prepared.
 * Give it expanded config: a profile must not smuggle in what the instance may not have.
 */
export function checkRestrictedConfig(config: Config, previous: Config = {}): string | null {
  for (const [key, value] of Object.entries(config)) {
    if (value === '' || value === previous[key]) continue;
    if (isLowLevel(key)) return `Use of low-level config "${key}" is forbidden`;
    if (key === 'security.privileged' && isTrue(value)) return 'Privileged containers are forbidden';
  }
  return null;
}

/**
 * The config that a PUT leaves. As in LXD, keys that are absent or empty are removed; but what the server alone knows
 * stays: its identity keys when absent, and everything about idmaps and the last state, whatever the caller sent.
 * Notes of devices that are gone go too.
 */
export function replaceConfig(previous: Config, wanted: Config, deviceNames: readonly string[]): Config {
  const result = dropEmpty(wanted);
  for (const key of Object.keys(result)) {
    const device = /^volatile\.(.+?)\.(hwaddr|name|host_name|mtu|created|id|vlan|last_state\..+)$/.exec(key)?.[1];
    const serverOwned = SERVER_OWNED.test(key);
    if (serverOwned || (device !== undefined && !KEYS.has(key) && !deviceNames.includes(device))) delete result[key];
  }
  for (const [key, value] of Object.entries(previous))
    if (SERVER_OWNED.test(key) || (IDENTITY.includes(key) && result[key] === undefined)) result[key] = value;
  return result;
}

const SERVER_OWNED = /^volatile\.(idmap\.|last_state\.|evacuate\.)/;
const IDENTITY = ['volatile.uuid', 'volatile.base_image', 'volatile.cloud-init.instance-id'];
