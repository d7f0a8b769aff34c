/** dnsmasq's lease file, and what LXD's lease list makes of it and of the reservations. Pure. */
import type { Lease } from '#protocol/queries.ts';
import type { Reservation } from './store.ts';
import type { Cidr } from './subnets.ts';

export interface LeaseEntry {
  hwaddr: string;
  address: string;
  hostname: string;
}

/** Lines of `expiry MAC address name clientid`; IPv6 ones and the `duid` line are other forms and are left out. */
export function parseLeases(text: string): LeaseEntry[] {
  return text.split('\n').flatMap((line) => {
    const [, hwaddr = '', address = '', hostname = ''] = line.split(' ');
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(hwaddr) || !/^[\d.]+$/.test(address)) return [];
    return [{ hwaddr, address, hostname: hostname === '*' ? '' : hostname }];
  });
}

/** Reservations first, then what dnsmasq gave to others, then the bridge itself. */
export function listLeases(
  bridge: { name: string; hwaddr: string; ipv4: Cidr | null; ipv6: Cidr | null },
  reservations: readonly Reservation[],
  entries: readonly LeaseEntry[],
): Lease[] {
  const leases: Lease[] = [];
  for (const { instance: hostname, hwaddr, ipv4, ipv6, fixed } of reservations) {
    const type = fixed ? 'static' : 'dynamic';
    if (ipv4 !== null) leases.push({ hostname, hwaddr, address: ipv4, type });
    if (ipv6 !== null) leases.push({ hostname, hwaddr, address: ipv6, type });
  }
  const known = new Set(reservations.map((reservation) => reservation.hwaddr));
  for (const entry of entries) if (!known.has(entry.hwaddr)) leases.push({ ...entry, type: 'dynamic' });
  for (const cidr of [bridge.ipv4, bridge.ipv6]) {
    if (cidr === null) continue;
    leases.push({ hostname: `${bridge.name}.gw`, hwaddr: bridge.hwaddr, address: cidr.address, type: 'gateway' });
  }
  return leases;
}
