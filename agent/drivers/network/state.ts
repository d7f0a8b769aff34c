/** LXD's network state object, from `/sys`. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { BridgeConfig } from './config.ts';
import { bridgePorts, isBridge, readLink } from './links.ts';

interface Address {
  family: 'inet' | 'inet6';
  address: string;
  netmask: string;
  scope: 'global' | 'link' | 'local';
}

/** The kernel's own list; a bridge without ports is in no list of Node's. `fe80… 03 40 20 80 eth0`: index, prefix, scope. */
export function parseLinkLocal(ifInet6: string, name: string): Address[] {
  return ifInet6.split('\n').flatMap((line): Address[] => {
    const [hex, , prefix, scope, , device] = line.trim().split(/\s+/);
    if (device !== name || scope !== '20' || !hex || !prefix) return [];
    const groups = (hex.match(/.{4}/g) ?? []).map((group) => Number.parseInt(group, 16).toString(16));
    // fe80::/10 has zeros up to its last four groups.
    return [
      {
        family: 'inet6',
        address: `fe80::${groups.slice(4).join(':')}`,
        netmask: String(Number.parseInt(prefix, 16)),
        scope: 'link',
      },
    ];
  });
}

function linkLocal(name: string): Address[] {
  try {
    return parseLinkLocal(readFileSync('/proc/net/if_inet6', 'utf8'), name);
  } catch {
    return [];
  }
}

function addresses(name: string, config: BridgeConfig | null): Address[] {
  if (config === null) {
    return (os.networkInterfaces()[name] ?? []).map((one) => ({
      family: one.family === 'IPv4' ? 'inet' : 'inet6',
      address: one.address,
      netmask: one.cidr?.split('/')[1] ?? '',
      scope: one.internal ? 'local' : /^fe80/i.test(one.address) ? 'link' : 'global',
    }));
  }
  const own = [config.ipv4, config.ipv6].flatMap((family): Address[] =>
    family
      ? [
          {
            family: family.subnet.kind === 'ipv4' ? 'inet' : 'inet6',
            address: family.subnet.gateway,
            netmask: String(family.subnet.prefixLength),
            scope: 'global',
          },
        ]
      : [],
  );
  return [...own, ...linkLocal(name)];
}

/** The state of a managed network (`config`) or of any interface of the host. */
export function networkState(name: string, config: BridgeConfig | null): Record<string, unknown> {
  const count = (file: string) => Number(readLink(name, `statistics/${file}`) || 0);
  const flags = Number(readLink(name, 'flags') || 0);
  const bridge = (file: string) => readLink(name, `bridge/${file}`);
  return {
    addresses: addresses(name, config),
    counters: {
      bytes_received: count('rx_bytes'),
      bytes_sent: count('tx_bytes'),
      packets_received: count('rx_packets'),
      packets_sent: count('tx_packets'),
    },
    hwaddr: readLink(name, 'address'),
    mtu: Number(readLink(name, 'mtu') || 0),
    state: flags & 1 ? 'up' : 'down',
    type: flags & 8 ? 'loopback' : 'broadcast',
    bond: null,
    bridge: isBridge(name)
      ? {
          id: bridge('bridge_id'),
          stp: bridge('stp_state') === '1',
          forward_delay: Number(bridge('forward_delay')),
          vlan_default: Number(bridge('default_pvid') || 0),
          vlan_filtering: bridge('vlan_filtering') === '1',
          upper_devices: bridgePorts(name),
        }
      : null,
    vlan: null,
    ovn: null,
  };
}
