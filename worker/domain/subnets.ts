/**
 * The subnets that `auto` stands for: a /24 of 10.0.0.0/8 and a ULA /64 per network and member. Pure and deterministic: the
 * same names and the same neighbours give the same subnet. Members get different ones so that they can be routed later.
 */
import ipaddr from 'ipaddr.js';

/** 10.1.0.0 to 10.254.255.0: people number their own networks in 10.0.x and 10.255.x. */
const IPV4_FIRST = 1 << 8;
const IPV4_COUNT = 254 << 8;

/** `10.x.y.1/24`, or null when all of them are taken. `taken` holds addresses and CIDRs; other families are ignored. */
export function pickIpv4(network: string, member: string, taken: readonly string[]): string | null {
  const used = taken.flatMap((text) => toRange(text) ?? []);
  const start = hash32(`${network}/${member}`) % IPV4_COUNT;
  for (let step = 0; step < IPV4_COUNT; step += 1) {
    const index = IPV4_FIRST + ((start + step) % IPV4_COUNT);
    const from = 0x0a000000 + index * 256;
    if (used.some((range) => range.from <= from + 255 && range.to >= from)) continue;
    return `10.${index >> 8}.${index & 255}.1/24`;
  }
  return null;
}

/** `fd42:x:y:z::1/64`, different from every prefix in `taken`. */
export function pickIpv6(network: string, member: string, taken: readonly string[]): string {
  const used = new Set(taken.flatMap((text) => ipv6Prefix(text) ?? []));
  for (let step = 0; ; step += 1) {
    const seed = step === 0 ? `${network}/${member}` : `${network}/${member}/${step}`;
    const [high, low] = [hash32(`6${seed}`), hash32(`lower/${seed}`)];
    const groups = [0xfd42, high >>> 16, high & 0xffff, low & 0xffff];
    if (!used.has(groups.join(':'))) return `${groups.map((group) => group.toString(16)).join(':')}::1/64`;
  }
}

/** Both families for a member, avoiding `taken`. */
export const pickSubnets = (network: string, member: string, taken: readonly string[]) => ({
  ipv4: pickIpv4(network, member, taken),
  ipv6: pickIpv6(network, member, taken),
});

/** One pick per member, none overlapping another or `taken`. */
export function pickForMembers(
  network: string,
  members: readonly string[],
  taken: readonly string[],
): Map<string, { ipv4: string | null; ipv6: string }> {
  const used = [...taken];
  const picks = new Map<string, { ipv4: string | null; ipv6: string }>();
  for (const member of [...members].sort()) {
    const pick = pickSubnets(network, member, used);
    picks.set(member, pick);
    used.push(...(pick.ipv4 === null ? [] : [pick.ipv4]), pick.ipv6);
  }
  return picks;
}

/** Whether the address is one of the CIDR's; false for what is no address, no CIDR or another family. */
export function isInSubnet(address: string, cidr: string): boolean {
  if (!ipaddr.isValid(address) || !ipaddr.isValidCIDR(cidr)) return false;
  const [subnet, bits] = ipaddr.parseCIDR(cidr);
  const parsed = ipaddr.parse(address);
  return parsed.kind() === subnet.kind() && parsed.match(subnet, bits);
}

/** FNV-1a with a final mix: similar names must not give neighbouring subnets. */
function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function toRange(text: string): { from: number; to: number } | null {
  const [head = '', tail = '32'] = text.split('/');
  if (!ipaddr.IPv4.isValidFourPartDecimal(head) || !/^\d{1,2}$/.test(tail) || Number(tail) > 32) return null;
  const address = ipaddr.IPv4.parse(head)
    .toByteArray()
    .reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - Number(tail));
  const from = Math.floor(address / size) * size;
  return { from, to: from + size - 1 };
}

function ipv6Prefix(text: string): string | null {
  const head = text.split('/')[0] ?? '';
  if (!head.includes(':') || !ipaddr.IPv6.isValid(head)) return null;
  return ipaddr.IPv6.parse(head).parts.slice(0, 4).join(':');
}
