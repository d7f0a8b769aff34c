/** A bridge network's keys, read once into what the driver acts on. Pure. */
import ipaddr from 'ipaddr.js';
import type { NetworkSpec } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import { checkNetworkName, hasLineBreak } from '#protocol/names.ts';
import { parseBool } from '#protocol/units.ts';
import { formatAddress, parseSubnet, type Subnet } from './subnet.ts';

export interface AddressFamily {
  subnet: Subnet;
  nat: boolean;
  natAddress: string | null;
  dhcp: boolean;
  /** `a-b,c-d` as start and end; empty: the whole subnet. */
  ranges: { start: string; end: string }[];
  expiry: string;
  firewall: boolean;
  routing: boolean;
  /** What instances are given as their way out: the bridge, unless `ipv4.dhcp.gateway` names another. */
  gateway: string;
  /** Networks behind the bridge, as CIDRs. */
  routes: string[];
}

export interface BridgeConfig {
  name: string;
  mtu: number;
  hwaddr: string | null;
  externalInterfaces: string[];
  ipv4: AddressFamily | null;
  ipv6: (AddressFamily & { stateful: boolean }) | null;
  dnsDomain: string;
  dnsMode: 'managed' | 'dynamic' | 'none';
  dnsSearch: string[];
}

type Config = Record<string, string>;

const refuse = (key: string, value: string) => badRequest(`Invalid value for network option "${key}": ${value}`);
const MTU_DEFAULT = 1500;
const DOMAIN = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

function flag(config: Config, key: string, fallback: boolean): boolean {
  const text = config[key] ?? '';
  const value = text === '' ? fallback : parseBool(text);
  if (value === null) throw refuse(key, text);
  return value;
}

function matched(config: Config, key: string, pattern: RegExp, fallback: string): string {
  const text = config[key] || fallback;
  if (text !== '' && !pattern.test(text)) throw refuse(key, text);
  return text;
}

function list(config: Config, key: string): string[] {
  return (config[key] ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
}

function parseRanges(config: Config, key: string, subnet: Subnet): AddressFamily['ranges'] {
  return list(config, key).map((text) => {
    const ends = text.split('-').map((part) => part.trim());
    const [start, end] = ends.map((part) => (ipaddr.isValid(part) ? ipaddr.parse(part) : null));
    if (ends.length !== 2 || !start || !end || start.kind() !== subnet.kind || end.kind() !== subnet.kind) {
      throw refuse(key, text);
    }
    return { start: formatAddress(start), end: formatAddress(end) };
  });
}

function family(config: Config, version: 'ipv4' | 'ipv6'): AddressFamily | null {
  const address = config[`${version}.address`] ?? '';
  if (address === '' || address === 'none') return null;
  const subnet = parseSubnet(address);
  if (subnet === null || subnet.kind !== version) throw refuse(`${version}.address`, address);
  return {
    subnet,
    nat: flag(config, `${version}.nat`, false),
    natAddress: addressKey(config, `${version}.nat.address`, version),
    dhcp: flag(config, `${version}.dhcp`, true),
    ranges: parseRanges(config, `${version}.dhcp.ranges`, subnet),
    expiry: matched(config, `${version}.dhcp.expiry`, /^(?:\d{1,9}[smhdw]?|infinite)$/, '1h'),
    firewall: flag(config, `${version}.firewall`, true),
    routing: flag(config, `${version}.routing`, true),
    gateway: addressKey(config, `${version}.dhcp.gateway`, version) ?? subnet.gateway,
    routes: list(config, `${version}.routes`).map((route) => {
      const [head = '', length = ''] = route.split('/');
      if (!ipaddr.isValid(head) || ipaddr.parse(head).kind() !== version || !/^\d{1,3}$/.test(length))
        throw refuse(`${version}.routes`, route);
      return `${formatAddress(ipaddr.parse(head))}/${length}`;
    }),
  };
}

function addressKey(config: Config, key: string, version: 'ipv4' | 'ipv6'): string | null {
  const text = config[key] || null;
  if (text !== null && !(ipaddr.isValid(text) && ipaddr.parse(text).kind() === version)) throw refuse(key, text);
  return text;
}

/** Reads a network. Throws `bad_request` for a name or value that must not reach ip, dnsmasq or nft. */
export function readBridgeConfig(network: NetworkSpec): BridgeConfig {
  const { name, config } = network;
  const refusal = checkNetworkName(name);
  if (refusal !== null) throw badRequest(refusal);
  for (const [key, value] of Object.entries(config)) {
    if (!key.startsWith('user.') && key !== 'raw.dnsmasq' && hasLineBreak(value))
      throw refuse(key, JSON.stringify(value));
  }
  const mtu = Number(matched(config, 'bridge.mtu', /^\d{2,5}$/, String(MTU_DEFAULT)));
  const ipv6 = family(config, 'ipv6');
  const externalInterfaces = list(config, 'bridge.external_interfaces');
  for (const external of externalInterfaces) {
    if (checkNetworkName(external) !== null) throw refuse('bridge.external_interfaces', external);
  }
  const search = list(config, 'dns.search');
  for (const domain of search) if (!DOMAIN.test(domain)) throw refuse('dns.search', domain);
  const mode = config['dns.mode'] || 'managed';
  if (mode !== 'managed' && mode !== 'dynamic' && mode !== 'none') throw refuse('dns.mode', mode);
  return {
    name,
    mtu,
    hwaddr: matched(config, 'bridge.hwaddr', /^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/, '') || null,
    externalInterfaces,
    ipv4: family(config, 'ipv4'),
    ipv6: ipv6 && { ...ipv6, stateful: flag(config, 'ipv6.dhcp.stateful', false) },
    dnsDomain: matched(config, 'dns.domain', DOMAIN, 'lxd'),
    dnsMode: mode,
    dnsSearch: search,
  };
}
