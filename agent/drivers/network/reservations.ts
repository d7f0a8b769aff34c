/** Picking and checking a NIC's addresses, and what dnsmasq is told of them. Pure. */
import { createHash } from 'node:crypto';
import { badRequest, conflict, failed } from '#protocol/errors.ts';
import { checkDeviceName, hasLineBreak } from '#protocol/names.ts';
import type { AddressFamily, BridgeConfig } from './config.ts';
import type { NicAttachment, NicRequest } from './driver.ts';
import type { DynamicLease } from './leases.ts';
import type { Reservation } from './store.ts';
import { eui64Address, hostAddress, hostSpan, isWithin, pickFree } from './subnet.ts';

const INSTANCE = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const HWADDR = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

/** Throws `bad_request` for an instance, device or MAC that must not reach a file name or dnsmasq's files. */
export function checkedRequest(nic: NicRequest): NicRequest {
  const hwaddr = nic.hwaddr.toLowerCase();
  if (!INSTANCE.test(nic.instance)) throw badRequest('Invalid instance name for a network reservation');
  const refusal = checkDeviceName(nic.device);
  if (refusal !== null || hasLineBreak(nic.device)) throw badRequest(refusal ?? 'Invalid device name');
  if (!HWADDR.test(hwaddr) || hasLineBreak(hwaddr))
    throw badRequest(`Invalid MAC address ${JSON.stringify(nic.hwaddr)}`);
  return { ...nic, hwaddr };
}

/** An instance's name in DNS: a project's instances carry its name, and host names have no underscore. */
export const dnsName = (instance: string): string => instance.replaceAll('_', '-');

/** Name of the file in dnsmasq's host directory. */
export const hostFileName = (nic: Pick<Reservation, 'instance' | 'device'>): string =>
  `${nic.instance}.${encodeURIComponent(nic.device)}`;

/** `MAC,IPv4,[IPv6],NAME`; null when there is nothing to tell. */
export function hostLine(config: BridgeConfig, nic: Reservation): string | null {
  const parts = [nic.hwaddr];
  if (nic.ipv4 !== null) parts.push(nic.ipv4);
  if (nic.ipv6 !== null) parts.push(`[${nic.ipv6}]`);
  if (config.dnsMode === 'managed') parts.push(dnsName(nic.instance));
  return parts.length === 1 ? null : `${parts.join(',')}\n`;
}

/** Lines `ADDRESS NAME NAME.DOMAIN`; null when the network gives no names or the instance is down. */
export function nameLines(config: BridgeConfig, nic: Reservation): string | null {
  if (config.dnsMode !== 'managed' || !nic.named) return null;
  const name = dnsName(nic.instance);
  const lines = [nic.ipv4, nic.ipv6].flatMap((one) =>
    one === null ? [] : [`${one} ${name} ${name}.${config.dnsDomain}\n`],
  );
  return lines.length === 0 ? null : lines.join('');
}

interface Taken {
  reservations: Reservation[];
  leases: DynamicLease[];
  /** Addresses of instances on other hosts. */
  elsewhere: ReadonlySet<string>;
}

function fixedAddress(network: string, family: AddressFamily | null, wanted: string, taken: Set<string>): string {
  const address = family && hostAddress(family.subnet, wanted);
  if (!address) throw badRequest(`Device IP address ${JSON.stringify(wanted)} not within network "${network}" subnet`);
  if (taken.has(address)) throw conflict(`IP address "${address}" already in use on network "${network}"`);
  return address;
}

/** The same on every host for one NIC: networks of several hosts may share a subnet, and names are known on all of them. */
const seedOf = (hwaddr: string): bigint =>
  BigInt(`0x${createHash('sha256').update(hwaddr).digest('hex').slice(0, 16)}`);

interface Picking {
  old: string | null;
  hwaddr: string;
  taken: ReadonlySet<string>;
  /** In use on other hosts: taken only when nothing else is left. */
  elsewhere: ReadonlySet<string>;
}

function pick(network: string, family: AddressFamily, { old, hwaddr, taken, elsewhere }: Picking): string {
  const ranges = family.ranges.length > 0 ? family.ranges : [null];
  const spans = ranges.flatMap((range) => hostSpan(family.subnet, range) ?? []);
  const kept = old && hostAddress(family.subnet, old);
  if (kept && !taken.has(kept) && isWithin(spans, kept)) return kept;
  const seed = seedOf(hwaddr);
  const free =
    pickFree(family.subnet, spans, new Set([...taken, ...elsewhere]), seed) ??
    pickFree(family.subnet, spans, taken, seed);
  if (free === null) throw failed(`No free IP addresses on network "${network}"`);
  return free;
}

/**
 * The addresses a NIC gets: those asked for, else those it has, else free ones of the DHCP ranges. Throws `bad_request` outside of
 * the subnet, `conflict` for a taken address or MAC, `failed` when the network is full.
 */
export function decide(config: BridgeConfig, nic: NicRequest, others: Taken, old: Reservation | null): Reservation {
  const foreign = others.reservations.filter((one) => one.instance !== nic.instance || one.device !== nic.device);
  if (foreign.some(({ hwaddr }) => hwaddr === nic.hwaddr)) {
    throw conflict(`MAC address "${nic.hwaddr}" already defined on another NIC of network "${config.name}"`);
  }
  const taken = new Set(
    [
      ...foreign.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
      ...others.leases.filter(({ hwaddr }) => hwaddr !== '' && hwaddr !== nic.hwaddr).map(({ address }) => address),
    ].filter((address) => address !== null),
  );
  const { ipv4, ipv6 } = config;
  const picking = { hwaddr: nic.hwaddr, taken, elsewhere: others.elsewhere };
  let address4: string | null = null;
  if (nic.ipv4Address !== null) address4 = fixedAddress(config.name, ipv4, nic.ipv4Address, taken);
  else if (ipv4?.dhcp)
    address4 = pick(config.name, ipv4, { ...picking, old: old?.fixedIpv4 ? null : (old?.ipv4 ?? null) });
  let address6: string | null = null;
  if (nic.ipv6Address !== null) address6 = fixedAddress(config.name, ipv6, nic.ipv6Address, taken);
  else if (ipv6?.dhcp && ipv6.stateful)
    address6 = pick(config.name, ipv6, { ...picking, old: old?.fixedIpv6 ? null : (old?.ipv6 ?? null) });
  // The one the guest gives itself from our advertisements, so that both agree.
  else if (ipv6 && ipv6.subnet.prefixLength === 64) address6 = eui64Address(ipv6.subnet, nic.hwaddr);
  return {
    instance: nic.instance,
    device: nic.device,
    hwaddr: nic.hwaddr,
    ipv4: address4,
    ipv6: address6,
    fixedIpv4: nic.ipv4Address !== null,
    fixedIpv6: nic.ipv6Address !== null,
    named: old?.named ?? false,
  };
}

/** What the instance driver needs of a reservation. */
export function toAttachment(config: BridgeConfig, nic: Reservation): NicAttachment {
  const withPrefix = (address: string | null, family: AddressFamily | null) =>
    address && family ? `${address}/${family.subnet.prefixLength}` : null;
  return {
    bridge: config.name,
    mtu: config.mtu,
    ipv4: withPrefix(nic.ipv4, config.ipv4),
    ipv4Gateway: nic.ipv4 && config.ipv4 ? config.ipv4.gateway : null,
    ipv6: withPrefix(nic.ipv6, config.ipv6),
    ipv6Gateway: nic.ipv6 && config.ipv6 ? config.ipv6.subnet.gateway : null,
  };
}
