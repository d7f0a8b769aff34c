/**
 * Which keys a bridge may have, and with which values (lxd-api 10.8). Pure; the texts are LXD's. Every value that passes is
 * safe in a config line of dnsmasq and in an nft rule: what cannot be checked so is refused.
 */
import ipaddr from 'ipaddr.js';
import { checkNetworkName, hasLineBreak } from '#protocol/names.ts';
import { parseBool } from '#protocol/units.ts';
import type { Config } from './config.ts';

/** Keys that differ from member to member; all others are the cluster's. */
export const NETWORK_MEMBER_KEYS = ['bridge.external_interfaces', 'parent', 'bgp.ipv4.nexthop', 'bgp.ipv6.nexthop'];

export const isNetworkMemberKey = (key: string) => NETWORK_MEMBER_KEYS.includes(key);

/** The keys that each member resolves for itself where the network says `auto`. */
export const ADDRESS_KEYS = ['ipv4.address', 'ipv6.address'] as const;

type Family = 'ipv4' | 'ipv6';
/** Null when good, else why not. */
type Check = (value: string) => string | null;

const bool: Check = (value) => (parseBool(value) === null ? `Invalid value for a boolean "${value}"` : null);
const text: Check = () => null;
const oneOf =
  (...allowed: string[]): Check =>
  (value) =>
    allowed.includes(value) ? null : `Invalid value "${value}" (not one of ${allowed.join(', ')})`;
const listOf =
  (check: Check): Check =>
  (value) =>
    value.split(',').reduce<string | null>((refusal, item) => refusal ?? check(item.trim()), null);

/** A strict address: no zone, no abbreviated IPv4. */
function parseAddress(family: Family, value: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  if (family === 'ipv4') return ipaddr.IPv4.isValidFourPartDecimal(value) ? ipaddr.IPv4.parse(value) : null;
  if (!/^[0-9a-fA-F:.]+$/.test(value) || !ipaddr.IPv6.isValid(value)) return null;
  return ipaddr.IPv6.parse(value);
}

/** `10.0.0.1/24` as address and prefix length; null for anything else. */
export function parseCidr(
  family: Family,
  value: string,
): { address: ipaddr.IPv4 | ipaddr.IPv6; prefix: number } | null {
  const [head = '', tail = '', ...rest] = value.split('/');
  const address = parseAddress(family, head);
  const prefix = Number(tail);
  if (address === null || rest.length > 0 || !/^\d{1,3}$/.test(tail)) return null;
  return prefix <= (family === 'ipv4' ? 32 : 128) ? { address, prefix } : null;
}

/** Whether an address lies in the subnet of a CIDR of the same family. */
function contains(cidr: { address: ipaddr.IPv4 | ipaddr.IPv6; prefix: number }, address: ipaddr.IPv4 | ipaddr.IPv6) {
  const bytes = (a: ipaddr.IPv4 | ipaddr.IPv6) => a.toByteArray();
  const [network, other] = [bytes(cidr.address), bytes(address)];
  if (network.length !== other.length) return false;
  return network.every((byte, index) => {
    const bits = Math.max(0, Math.min(8, cidr.prefix - index * 8));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((other[index] ?? 0) & mask);
  });
}

const ip =
  (family: Family): Check =>
  (value) =>
    parseAddress(family, value) === null ? `Not an ${name(family)} address "${value}"` : null;
const cidr =
  (family: Family): Check =>
  (value) =>
    parseCidr(family, value) === null ? `Not an ${name(family)} network "${value}"` : null;
const name = (family: Family) => (family === 'ipv4' ? 'IPv4' : 'IPv6');

/** The bridge's own address: a host's, in a subnet with room for others. */
const bridgeAddress =
  (family: Family): Check =>
  (value) => {
    if (value === 'auto' || value === 'none') return null;
    const parsed = parseCidr(family, value);
    if (parsed === null) return `Not an ${name(family)} address with a subnet "${value}"`;
    const hostBits = (family === 'ipv4' ? 32 : 128) - parsed.prefix;
    const bytes = parsed.address.toByteArray();
    const isHost = bytes.some((byte, index) => {
      const networkBits = Math.max(0, Math.min(8, parsed.prefix - index * 8));
      return (byte & (0xff >> networkBits)) !== 0;
    });
    return parsed.prefix > 0 && hostBits >= 2 && isHost ? null : `Not a usable ${name(family)} address "${value}"`;
  };

const range =
  (family: Family): Check =>
  (value) => {
    const [from = '', to = '', ...rest] = value.split('-').map((part) => part.trim());
    const [first, last] = [parseAddress(family, from), parseAddress(family, to)];
    if (first === null || last === null || rest.length > 0) return `Invalid ${name(family)} range "${value}"`;
    const hex = (a: ipaddr.IPv4 | ipaddr.IPv6) => a.toByteArray().map((byte) => byte.toString(16).padStart(2, '0'));
    return hex(first).join('') <= hex(last).join('') ? null : `Invalid ${name(family)} range "${value}"`;
  };

const LABEL = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;
const domain: Check = (value) =>
  value.length <= 253 && value.split('.').every((label) => LABEL.test(label)) ? null : `Invalid domain name "${value}"`;
const expiry: Check = (value) => (/^(\d{1,9}[smhdw]?|infinite)$/.test(value) ? null : `Invalid expiry "${value}"`);
const mtu: Check = (value) => {
  const bytes = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  return bytes >= 68 && bytes <= 65_535 ? null : `Invalid MTU "${value}"`;
};
const hwaddr: Check = (value) =>
  /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(value) ? null : `Invalid MAC address "${value}"`;

const perFamily = (family: Family): Record<string, Check> => ({
  [`${family}.address`]: bridgeAddress(family),
  [`${family}.nat`]: bool,
  [`${family}.nat.order`]: oneOf('before', 'after'),
  [`${family}.nat.address`]: ip(family),
  [`${family}.dhcp`]: bool,
  [`${family}.dhcp.expiry`]: expiry,
  [`${family}.dhcp.ranges`]: listOf(range(family)),
  [`${family}.firewall`]: bool,
  [`${family}.routes`]: listOf(cidr(family)),
  [`${family}.routing`]: bool,
});

const RULES: Record<string, Check> = {
  ...perFamily('ipv4'),
  ...perFamily('ipv6'),
  'ipv4.dhcp.gateway': ip('ipv4'),
  'ipv6.dhcp.stateful': bool,
  'bridge.driver': oneOf('native'),
  'bridge.mode': oneOf('standard'),
  'bridge.external_interfaces': listOf(checkNetworkName),
  'bridge.hwaddr': hwaddr,
  'bridge.mtu': mtu,
  'dns.domain': domain,
  'dns.mode': oneOf('managed', 'dynamic', 'none'),
  'dns.search': listOf(domain),
  'maas.subnet.ipv4': text,
  'maas.subnet.ipv6': text,
};

/** Keys of LXD that this cluster does not carry out: refused rather than kept without effect. */
const UNSUPPORTED = /^(raw\.dnsmasq|fan\.|tunnel\.|bgp\.|security\.acls|dns\.zone\.|ipv[46]\.ovn\.|parent$)/;

/** Null when a bridge takes this config, else LXD's refusal. Empty values must be gone already. */
export function checkNetworkConfig(network: string, config: Config): string | null {
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('user.')) continue;
    const check = Object.hasOwn(RULES, key) ? RULES[key] : undefined;
    if (check === undefined) {
      const reason = UNSUPPORTED.test(key) ? ': not supported' : '';
      return `Invalid option for network "${network}" option "${key}"${reason}`;
    }
    const refusal = hasLineBreak(value) ? 'Line breaks are not allowed' : check(value);
    if (refusal !== null) return `Invalid value for network "${network}" option "${key}": ${refusal}`;
  }
  return checkRanges(network, config, 'ipv4') ?? checkRanges(network, config, 'ipv6');
}

/** DHCP ranges must lie in the bridge's own subnet, where that is known here. */
function checkRanges(network: string, config: Config, family: Family): string | null {
  const ranges = config[`${family}.dhcp.ranges`];
  const subnet = parseCidr(family, config[`${family}.address`] ?? '');
  if (ranges === undefined || subnet === null) return null;
  const outside = ranges
    .split(/[,-]/)
    .map((part) => parseAddress(family, part.trim()))
    .some((address) => address === null || !contains(subnet, address));
  if (!outside) return null;
  return `Invalid value for network "${network}" option "${family}.dhcp.ranges": Range is outside of the network's subnet`;
}

/** LXD's defaults on create: absent addresses become `auto`, and `auto` ones get NAT. */
export function withNetworkDefaults(config: Config): Config {
  const filled: Config = { 'ipv4.address': 'auto', 'ipv6.address': 'auto', ...config };
  for (const family of ['ipv4', 'ipv6'] as const) {
    if (filled[`${family}.address`] === 'auto') filled[`${family}.nat`] ??= 'true';
  }
  return filled;
}

/** The member's own keys, and the cluster's. */
export function splitNetworkConfig(config: Config): { member: Config; cluster: Config } {
  const entries = Object.entries(config);
  return {
    member: Object.fromEntries(entries.filter(([key]) => isNetworkMemberKey(key))),
    cluster: Object.fromEntries(entries.filter(([key]) => !isNetworkMemberKey(key))),
  };
}

/** What one member has: the cluster's keys, its own, and its resolved addresses where the cluster says `auto`. */
export function mergeNetworkConfig(cluster: Config, member: Config): Config {
  const own = Object.entries(member).filter(
    ([key]) => !ADDRESS_KEYS.some((address) => address === key) || cluster[key] === 'auto',
  );
  return { ...cluster, ...Object.fromEntries(own) };
}
