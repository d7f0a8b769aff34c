/**
 * The packet filter of one bridge, in the table `inet longshore`: masquerading and the openings that DHCP, DNS and routed
 * traffic need. Pure text for one `nft -f -` transaction that ends in the desired state whatever was there.
 * Chain names carry a prefix: bare network names may be nft keywords.
 */
import { isTrue } from '#protocol/units.ts';
import type { Cidr } from './subnets.ts';

const TABLE = 'inet longshore';
const FAMILIES = ['ipv4', 'ipv6'] as const;

export interface BridgeRules {
  name: string;
  config: Record<string, string>;
  ipv4: Cidr | null;
  ipv6: Cidr | null;
}

const HOOKS = {
  pstrt: 'type nat hook postrouting priority 100; policy accept;',
  fwd: 'type filter hook forward priority 0; policy accept;',
  in: 'type filter hook input priority 0; policy accept;',
} as const;

const chainOf = (kind: keyof typeof HOOKS, name: string) => `${TABLE} ${kind}_${name}`;

function emptied(kind: keyof typeof HOOKS, name: string): string[] {
  const chain = chainOf(kind, name);
  return [`add chain ${chain} { ${HOOKS[kind]} }`, `flush chain ${chain}`];
}

export function bridgeRules({ name, config, ipv4, ipv6 }: BridgeRules): string {
  const lines = [`add table ${TABLE}`, ...emptied('pstrt', name), ...emptied('fwd', name), ...emptied('in', name)];
  const rule = (kind: keyof typeof HOOKS, text: string) => lines.push(`add rule ${chainOf(kind, name)} ${text}`);
  for (const family of FAMILIES) {
    const cidr = family === 'ipv4' ? ipv4 : ipv6;
    if (cidr === null) continue;
    const ip = family === 'ipv4' ? 'ip' : 'ip6';
    if (isTrue(config[`${family}.nat`])) {
      const to = config[`${family}.nat.address`];
      const target = to === undefined || to === '' ? 'masquerade' : `snat ${ip} to ${to}`;
      rule('pstrt', `${ip} saddr ${cidr.network} ${ip} daddr != ${cidr.network} oifname != "${name}" ${target}`);
    }
    if (config[`${family}.firewall`] !== undefined && !isTrue(config[`${family}.firewall`])) continue;
    const verdict = isTrue(config[`${family}.routing`] ?? 'true') ? 'accept' : 'drop';
    rule('fwd', `meta nfproto ${family} oifname "${name}" ${verdict}`);
    rule('fwd', `meta nfproto ${family} iifname "${name}" ${verdict}`);
  }
  rule('in', `iifname "${name}" udp dport { 53, 67, 547 } accept`);
  rule('in', `iifname "${name}" tcp dport 53 accept`);
  return `${lines.join('\n')}\n`;
}

/** Removes the bridge's chains; right also when they are not there. */
export function removeRules(name: string): string {
  const kinds = Object.keys(HOOKS) as (keyof typeof HOOKS)[];
  const removed = kinds.flatMap((kind) => [...emptied(kind, name), `delete chain ${chainOf(kind, name)}`]);
  return `${[`add table ${TABLE}`, ...removed].join('\n')}\n`;
}
