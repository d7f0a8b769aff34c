/** dnsmasq's leases: reading them, joining them with reservations, and ending one. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Lease } from '#protocol/queries.ts';
import { sendDhcpRelease } from '../../system/dhcp-release.ts';
import type { Exec } from '../../system/exec.ts';
import { waitUntil } from '../../system/proc.ts';
import type { BridgeConfig } from './config.ts';
import { ensureDnsmasq, findDnsmasq, stopDnsmasq } from './dnsmasq.ts';
import { dnsName } from './reservations.ts';
import type { NetworkPaths, Reservation } from './store.ts';

export interface DynamicLease {
  hwaddr: string;
  address: string;
  hostname: string;
}

/** dnsmasq takes a release within milliseconds. */
const RELEASE_TIMEOUT_MS = 500;

/** Parses dnsmasq's lease file: `expiry mac address name clientid`; for IPv6 the second field is no MAC. */
export function parseLeases(text: string): DynamicLease[] {
  return text.split('\n').flatMap((line) => {
    const [expiry, owner, address, hostname] = line.split(' ');
    if (!owner || !address || !/^\d+$/.test(expiry ?? '')) return [];
    const isMac = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(owner);
    return [{ hwaddr: isMac ? owner : '', address, hostname: hostname && hostname !== '*' ? hostname : '' }];
  });
}

/** What dnsmasq has given out; nothing when it never ran. */
export const readLeases = (paths: NetworkPaths): DynamicLease[] =>
  existsSync(paths.leases) ? parseLeases(readFileSync(paths.leases, 'utf8')) : [];

/** LXD's list: gateways, reservations (static when the address was asked for), then what others took by DHCP. */
export function joinLeases(config: BridgeConfig, reservations: Reservation[], dynamic: DynamicLease[]): Lease[] {
  const gateways = [config.ipv4, config.ipv6].flatMap((family): Lease[] =>
    family ? [{ hostname: `${config.name}.gw`, hwaddr: '', address: family.subnet.gateway, type: 'gateway' }] : [],
  );
  const reserved = reservations.flatMap(({ instance, hwaddr, ipv4, ipv6, fixedIpv4, fixedIpv6 }): Lease[] => {
    const entry = (address: string | null, fixed: boolean): Lease[] =>
      address === null ? [] : [{ hostname: dnsName(instance), hwaddr, address, type: fixed ? 'static' : 'dynamic' }];
    return [...entry(ipv4, fixedIpv4), ...entry(ipv6, fixedIpv6)];
  });
  const known = new Set(reserved.map(({ address }) => address));
  const others = dynamic
    .filter(({ address }) => !known.has(address))
    .map(({ hostname, hwaddr, address }): Lease => ({ hostname, hwaddr, address, type: 'dynamic' }));
  return [...gateways, ...reserved, ...others];
}

const isOf =
  (nic: Reservation) =>
  ({ hwaddr, address }: DynamicLease) =>
    hwaddr.toLowerCase() === nic.hwaddr || address === nic.ipv4 || address === nic.ipv6;

/**
 * Gives the leases of a NIC back as its client would: a running dnsmasq keeps them, and their names, in memory and writes its
 * file anew. False when some are still there after a moment: it does not listen (IPv6, no more bridge).
 */
export async function releaseLeases(config: BridgeConfig, paths: NetworkPaths, nic: Reservation): Promise<boolean> {
  const held = readLeases(paths).filter(isOf(nic));
  if (held.length === 0) return true;
  const server = config.ipv4?.subnet.gateway;
  if (findDnsmasq(paths) === null || server === undefined) return false;
  for (const { address, hwaddr } of held) {
    if (hwaddr === '') continue;
    try {
      sendDhcpRelease(config.name, { address, hwaddr, server });
    } catch {
      // No such interface any more.
      return false;
    }
  }
  return waitUntil(() => !readLeases(paths).some(isOf(nic)), { timeoutMs: RELEASE_TIMEOUT_MS });
}

/** Ends the leases of a NIC for good: a dnsmasq that does not take them back is stopped for the time of the edit. */
export async function endLeases(
  exec: Exec,
  config: BridgeConfig,
  paths: NetworkPaths,
  nic: Reservation,
): Promise<void> {
  if (await releaseLeases(config, paths, nic)) return;
  const isRunning = findDnsmasq(paths) !== null;
  if (isRunning) await stopDnsmasq(paths);
  const kept = readFileSync(paths.leases, 'utf8')
    .split('\n')
    .filter((line) => !parseLeases(line).some(isOf(nic)));
  writeFileSync(`${paths.leases}.tmp`, kept.join('\n'));
  renameSync(`${paths.leases}.tmp`, paths.leases);
  if (isRunning) await ensureDnsmasq(exec, config, paths);
}
