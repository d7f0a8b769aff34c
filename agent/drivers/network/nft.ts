/** NAT and firewall of the networks: one nftables table, four chains per network, each change one transaction. Pure but for applying. */
import type { Exec } from '../../system/exec.ts';
import type { AddressFamily, BridgeConfig } from './config.ts';
import { networkCidr } from './subnet.ts';

const TABLE = 'inet longshore';

interface Chain {
  /** The prefix keeps the name from being a keyword of nft. */
  name: string;
  hook: string;
  rules: string[];
}

function natRule(family: AddressFamily | null): string[] {
  if (family === null || !family.nat) return [];
  const ip = family.subnet.kind === 'ipv4' ? 'ip' : 'ip6';
  const network = networkCidr(family.subnet);
  const action = family.natAddress === null ? 'masquerade' : `snat ${ip} to ${family.natAddress}`;
  return [`${ip} saddr ${network} ${ip} daddr != ${network} ${action}`];
}

function chains(config: BridgeConfig): Chain[] {
  const { name, ipv4, ipv6 } = config;
  const input: string[] = [];
  const output: string[] = [];
  const forward: string[] = [];
  const allow = (protocol: string, ports: string) => {
    input.push(`iifname "${name}" ${protocol} dport { ${ports} } accept`);
    output.push(`oifname "${name}" ${protocol} sport { ${ports} } accept`);
  };
  for (const family of [ipv4, ipv6]) {
    if (!family?.firewall) continue;
    const version = `meta nfproto ${family.subnet.kind}`;
    if (family.routing) forward.push(`${version} iifname "${name}" accept`, `${version} oifname "${name}" accept`);
    else forward.push(`${version} iifname "${name}" reject`, `${version} oifname "${name}" reject`);
    const icmp = family.subnet.kind === 'ipv4' ? 'icmp' : 'icmpv6';
    input.push(`iifname "${name}" meta l4proto ${icmp} accept`);
    output.push(`oifname "${name}" meta l4proto ${icmp} accept`);
    allow(`${version} udp`, family.subnet.kind === 'ipv4' ? '53, 67' : '53, 547');
    allow(`${version} tcp`, '53');
  }
  return [
    { name: 'pstrt', hook: 'type nat hook postrouting priority 100', rules: [...natRule(ipv4), ...natRule(ipv6)] },
    { name: 'fwd', hook: 'type filter hook forward priority 0', rules: forward },
    { name: 'in', hook: 'type filter hook input priority 0', rules: input },
    { name: 'out', hook: 'type filter hook output priority 0', rules: output },
  ];
}

/** The whole desired state of one network as an nft script: applying it again changes nothing. Without config: its end. */
export function renderRules(network: string, config: BridgeConfig | null): string {
  const lines = [`add table ${TABLE}`];
  const empty: BridgeConfig = config ?? {
    name: network,
    mtu: 0,
    hwaddr: null,
    externalInterfaces: [],
    ipv4: null,
    ipv6: null,
    dnsDomain: '',
    dnsMode: 'none',
    dnsSearch: [],
  };
  for (const { name, hook, rules } of chains(empty)) {
    const chain = `${TABLE} ${name}.${network}`;
    lines.push(`add chain ${chain} { ${hook}; policy accept; }`, `flush chain ${chain}`);
    if (rules.length === 0) lines.push(`delete chain ${chain}`);
    for (const rule of rules) lines.push(`add rule ${chain} ${rule}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Applies a script in one transaction. Throws what nft says; nothing has changed then. */
export async function applyRules(exec: Exec, script: string): Promise<void> {
  await exec('nft', ['-f', '-'], { input: script });
}

/** Removes a network's chains, and the table with the last of them. */
export async function removeRules(exec: Exec, network: string): Promise<void> {
  await applyRules(exec, renderRules(network, null));
  const { stdout } = await exec('nft', ['list', 'table', ...TABLE.split(' ')]);
  if (!/^\s*chain /m.test(stdout)) await applyRules(exec, `delete table ${TABLE}\n`);
}
