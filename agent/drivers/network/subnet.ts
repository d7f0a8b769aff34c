/** Subnet arithmetic on big integers, the same for both families. Pure. */
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface Subnet {
  kind: 'ipv4' | 'ipv6';
  /** The bridge's own address. */
  gateway: string;
  prefixLength: number;
  /** First and last address as numbers. */
  first: bigint;
  last: bigint;
}

const BITS = { ipv4: 32, ipv6: 128 };

/** The canonical, short form. */
export const formatAddress = (address: Address): string => address.toString();

export const toNumber = (address: Address): bigint =>
  address.toByteArray().reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

function fromNumber(value: bigint, kind: Subnet['kind']): string {
  const bytes: number[] = [];
  for (let shift = BITS[kind] - 8; shift >= 0; shift -= 8) bytes.push(Number((value >> BigInt(shift)) & 0xffn));
  return formatAddress(ipaddr.fromByteArray(bytes));
}

/** `10.1.2.1/24`; with the network address (`10.1.2.0/24`) the gateway is the first host. Null when it is no such thing. */
export function parseSubnet(text: string): Subnet | null {
  const [addressText, lengthText, ...rest] = text.split('/');
  if (addressText === undefined || !/^\d{1,3}$/.test(lengthText ?? '') || rest.length > 0) return null;
  const isFull = addressText.includes(':') || ipaddr.IPv4.isValidFourPartDecimal(addressText);
  if (!isFull || !ipaddr.isValid(addressText) || addressText.includes('%')) return null;
  const address = ipaddr.parse(addressText);
  const kind = address.kind();
  const prefixLength = Number(lengthText);
  // A bridge needs room for itself and an instance.
  if (prefixLength < 8 || prefixLength > BITS[kind] - 2) return null;
  const size = 1n << BigInt(BITS[kind] - prefixLength);
  const own = toNumber(address);
  const first = (own / size) * size;
  return {
    kind,
    gateway: own === first ? fromNumber(first + 1n, kind) : formatAddress(address),
    prefixLength,
    first,
    last: first + size - 1n,
  };
}

export const cidr = (subnet: Subnet): string => `${subnet.gateway}/${subnet.prefixLength}`;
export const networkCidr = (subnet: Subnet): string =>
  `${fromNumber(subnet.first, subnet.kind)}/${subnet.prefixLength}`;
export const overlaps = (a: Subnet, b: Subnet): boolean => a.kind === b.kind && a.first <= b.last && b.first <= a.last;

/** First and last address for hosts: not the network's own, a gateway at its start, nor IPv4's broadcast. */
export const hostRange = (subnet: Subnet): { first: string; last: string } => ({
  first: fromNumber(
    subnet.first + (fromNumber(subnet.first + 1n, subnet.kind) === subnet.gateway ? 2n : 1n),
    subnet.kind,
  ),
  last: fromNumber(subnet.kind === 'ipv4' ? subnet.last - 1n : subnet.last, subnet.kind),
});

/** The canonical form of `text` when it can be a host's address there; else null. */
export function hostAddress(subnet: Subnet, text: string): string | null {
  if (!ipaddr.isValid(text)) return null;
  const address = ipaddr.parse(text);
  const value = toNumber(address);
  const lastHost = subnet.kind === 'ipv4' ? subnet.last - 1n : subnet.last;
  const canonical = formatAddress(address);
  const isHost = address.kind() === subnet.kind && value > subnet.first && value <= lastHost;
  return isHost && canonical !== subnet.gateway ? canonical : null;
}

/** An inclusive run of addresses as numbers. */
export interface Span {
  first: bigint;
  last: bigint;
}

/** The part of `range` that can be hosts' addresses there; all of the subnet without one. Null when nothing is left. */
export function hostSpan(subnet: Subnet, range: { start: string; end: string } | null): Span | null {
  const lastHost = subnet.kind === 'ipv4' ? subnet.last - 1n : subnet.last;
  const start = range === null ? subnet.first + 1n : toNumber(ipaddr.parse(range.start));
  const end = range === null ? lastHost : toNumber(ipaddr.parse(range.end));
  const span = {
    first: start > subnet.first ? start : subnet.first + 1n,
    last: end < lastHost ? end : lastHost,
  };
  return span.first <= span.last ? span : null;
}

/** True for an address in canonical form that lies in one of the spans. */
export const isWithin = (spans: readonly Span[], address: string): boolean => {
  const value = toNumber(ipaddr.parse(address));
  return spans.some(({ first, last }) => first <= value && value <= last);
};

/** The first address that is not taken, from the place that `seed` names onwards and around; null when all are. */
export function pickFree(
  subnet: Subnet,
  spans: readonly Span[],
  taken: ReadonlySet<string>,
  seed: bigint,
): string | null {
  const total = spans.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
  for (let step = 0n; step < total; step++) {
    let at = (seed + step) % total;
    const span = spans.find(({ first, last }) => {
      const size = last - first + 1n;
      if (at < size) return true;
      at -= size;
      return false;
    });
    if (span === undefined) return null;
    const address = fromNumber(span.first + at, subnet.kind);
    if (address !== subnet.gateway && !taken.has(address)) return address;
  }
  return null;
}

/** The address that a host with this MAC gives itself in a /64 (modified EUI-64). */
export function eui64Address(subnet: Subnet, hwaddr: string): string {
  const bytes = hwaddr.split(':').map((part) => Number.parseInt(part, 16));
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = bytes;
  const suffix = [a ^ 2, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return fromNumber(subnet.first + suffix, 'ipv6');
}
