/** Addresses and subnets of a bridge. Pure. */
import ipaddr from 'ipaddr.js';
import { badRequest } from '#protocol/errors.ts';

/** A bridge's address with its subnet: `10.1.2.1/24`. */
export interface Cidr {
  /** The bridge's own address. */
  address: string;
  prefix: number;
  /** The subnet as routes and nft write it: `10.1.2.0/24`. */
  network: string;
}

/** Throws `bad_request` for what is no `address/prefix` of that family. */
export function parseCidr(family: 'ipv4' | 'ipv6', text: string): Cidr {
  const kind = family === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6;
  try {
    const [address, prefix] = kind.parseCIDR(text);
    return {
      address: address.toString(),
      prefix,
      network: `${kind.networkAddressFromCIDR(text).toString()}/${prefix}`,
    };
  } catch (cause) {
    throw badRequest(`Invalid ${family} address ${JSON.stringify(text)}`, cause);
  }
}

const toNumber = (address: string) => ipaddr.IPv4.parse(address).octets.reduce((sum, octet) => sum * 256 + octet, 0);
const toAddress = (value: number) => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** First and last address that a host of the subnet may have, as numbers; the bridge's own is among them. */
function hostRange(cidr: Cidr): { first: number; last: number } {
  const size = 2 ** (32 - cidr.prefix);
  const base = Math.floor(toNumber(cidr.address) / size) * size;
  return { first: base + 1, last: base + size - 2 };
}

/** The lowest address nobody has; null when the subnet is full. */
export function pickIpv4(cidr: Cidr, taken: ReadonlySet<string>): string | null {
  const { first, last } = hostRange(cidr);
  for (let value = first; value <= last; value++) {
    const address = toAddress(value);
    if (address !== cidr.address && !taken.has(address)) return address;
  }
  return null;
}

/** Whether an address may be given to a host of the subnet (not the network, the broadcast or the bridge's own). */
export function isHostAddress(cidr: Cidr, address: string): boolean {
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) || address === cidr.address) return false;
  const { first, last } = hostRange(cidr);
  return toNumber(address) >= first && toNumber(address) <= last;
}

/** The address range for dnsmasq when the network names none: all of the subnet but the bridge's own first one. */
export function defaultDhcpRange(cidr: Cidr): { first: string; last: string } {
  const { first, last } = hostRange(cidr);
  const low = toAddress(first) === cidr.address ? first + 1 : first;
  return { first: toAddress(low), last: toAddress(last) };
}

/** The address that stateless autoconfiguration gives a MAC in a /64 (RFC 4291, modified EUI-64). */
export function eui64(cidr: Cidr, hwaddr: string): string {
  const mac = hwaddr.split(':').map((part) => Number.parseInt(part, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = mac;
  const bytes = ipaddr.IPv6.parse(cidr.network.split('/')[0] ?? '::')
    .toByteArray()
    .slice(0, 8);
  return ipaddr.fromByteArray([...bytes, a ^ 2, b, c, 0xff, 0xfe, d, e, f]).toString();
}

/** Whether two subnets share an address. */
export function overlaps(a: string, b: string): boolean {
  const [first, firstPrefix] = ipaddr.parseCIDR(a);
  const [second, secondPrefix] = ipaddr.parseCIDR(b);
  if (first.kind() !== second.kind()) return false;
  const prefix = Math.min(firstPrefix, secondPrefix);
  return first.match(second, prefix);
}
