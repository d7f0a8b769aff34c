/**
 * The text of a liblxc config file. One newline in a value would be a new line of config, and some keys run programs as
 * root on the host: so every value passes one check here, and keys come from one fixed list.
 */
import { badRequest } from '#protocol/errors.ts';
import { hasLineBreak } from '#protocol/names.ts';

const KEYS = [
  'lxc.apparmor.allow_nesting',
  'lxc.apparmor.profile',
  'lxc.cap.drop',
  'lxc.console.logfile',
  'lxc.console.size',
  'lxc.environment',
  'lxc.hook.mount',
  'lxc.hook.post-stop',
  'lxc.hook.start-host',
  'lxc.hook.version',
  'lxc.idmap',
  'lxc.include',
  'lxc.log.file',
  'lxc.log.level',
  'lxc.mount.auto',
  'lxc.mount.entry',
  'lxc.pty.max',
  'lxc.rootfs.options',
  'lxc.rootfs.path',
  'lxc.seccomp.profile',
  'lxc.tty.max',
  'lxc.uts.name',
] as const;

/** Keys of one network interface. */
export type NetKey =
  | 'type'
  | 'link'
  | 'flags'
  | 'name'
  | 'hwaddr'
  | 'mtu'
  | 'veth.pair'
  | 'ipv4.address'
  | 'ipv4.gateway'
  | 'ipv6.address'
  | 'ipv6.gateway';

/** Keys that the driver may write. */
export type ConfigKey =
  | (typeof KEYS)[number]
  | `lxc.net.${number}.${NetKey}`
  | `lxc.cgroup.${string}`
  | `lxc.cgroup2.${string}`
  | `lxc.sysctl.${string}`
  | `lxc.prlimit.${string}`;

/** The last part comes from control group file names and from names that `lxc-config.ts` has matched; never a line break. */
const FAMILY = /^lxc\.(?:net\.\d+|cgroup2?|sysctl|prlimit)\.[A-Za-z0-9_./-]+$/;

const isKnownKey = (key: string) => KEYS.some((known) => known === key) || FAMILY.test(key);

/** liblxc trims values and drops one pair of quotes around them. */
const needsQuotes = (value: string) => /^[\s"']|[\s"']$/.test(value);

/** One line. Throws `bad_request` for a line break or null byte in the value, and for a key that is not ours to write. */
export function configLine(key: ConfigKey, value: string): string {
  if (!isKnownKey(key)) throw badRequest('Invalid config: Key is not allowed in the container config');
  if (hasLineBreak(value))
    throw badRequest(`Invalid config: Value for ${key} may not contain line breaks or null bytes`);
  return `${key} = ${needsQuotes(value) ? `"${value}"` : value}\n`;
}

/** A field of a mount entry, escaped as in fstab. */
export const mountField = (text: string): string =>
  text.replace(/[ \t\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
