/** Bridges as the kernel has them: `ip` in one batch to change them, `/sys` and `/proc` to look. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { conflict, failed } from '#protocol/errors.ts';
import type { Exec } from '../../system/exec.ts';
import type { BridgeConfig } from './config.ts';
import { cidr, parseSubnet, type Subnet } from './subnet.ts';

const SYS_NET = '/sys/class/net';

export const linkExists = (name: string): boolean => existsSync(join(SYS_NET, name));
export const isBridge = (name: string): boolean => existsSync(join(SYS_NET, name, 'bridge'));

/** Text of a file below `/sys/class/net/<name>`; empty when there is none. */
export function readLink(name: string, file: string): string {
  try {
    return readFileSync(join(SYS_NET, name, file), 'utf8').trim();
  } catch {
    return '';
  }
}

/** Interfaces that are ports of the bridge. */
export function bridgePorts(name: string): string[] {
  const path = join(SYS_NET, name, 'brif');
  return existsSync(path) ? readdirSync(path).sort() : [];
}

/** Subnets that this host uses or has a route to, other than those of `except`. */
export async function usedSubnets(exec: Exec, except: string): Promise<Subnet[]> {
  const found: Subnet[] = [];
  for (const family of ['-4', '-6']) {
    const { stdout } = await exec('ip', [family, '-o', 'route', 'show', 'table', 'all']);
    for (const line of stdout.split('\n')) {
      if (line.includes(` dev ${except} `)) continue;
      const subnet = parseSubnet(/^(?:\w+ )?([0-9a-f.:]+\/\d+)/.exec(line)?.[1] ?? '');
      // Link-local routes are on every link, multicast is no place for a network.
      if (subnet && !/(?:^|\s)(?:fe80|ff00|169\.254)/.test(line)) found.push(subnet);
    }
  }
  return found;
}

function setSysctl(path: string, value: string): void {
  const file = join('/proc/sys/net', path);
  if (existsSync(file) && readFileSync(file, 'utf8').trim() !== value) writeFileSync(file, value);
}

/** Forwarding is the host's switch. For IPv6 it would end accepting router advertisements: keep that where it was on. */
function enableRouting(config: BridgeConfig): void {
  if (config.ipv4?.routing) setSysctl('ipv4/ip_forward', '1');
  if (!config.ipv6?.routing || !existsSync('/proc/sys/net/ipv6')) return;
  for (const name of readdirSync('/proc/sys/net/ipv6/conf')) {
    const file = `ipv6/conf/${name}/accept_ra`;
    if (readFileSync(join('/proc/sys/net', file), 'utf8').trim() === '1' && name !== config.name) setSysctl(file, '2');
  }
  setSysctl('ipv6/conf/all/forwarding', '1');
}

async function readAddresses(exec: Exec, name: string): Promise<string[]> {
  const { stdout } = await exec('ip', ['-o', 'address', 'show', 'dev', name, 'scope', 'global']);
  return [...stdout.matchAll(/ inet6? (\S+)/g)].flatMap((match) => (match[1] ? [match[1]] : []));
}

/** Ports the config names and does not have yet. LXD's rule: only interfaces that carry nothing of the host. */
function newExternals(config: BridgeConfig, ports: string[]): string[] {
  const missing = config.externalInterfaces.filter((name) => !ports.includes(name));
  for (const name of missing) {
    if (!linkExists(name)) throw failed(`Network interface "${name}" does not exist`);
    const global = (os.networkInterfaces()[name] ?? []).filter(({ address }) => !/^fe80/i.test(address));
    if (global.length > 0)
      throw failed(`Only unconfigured network interfaces can be bridged: "${name}" has an address`);
  }
  return missing;
}

/**
 * Makes the bridge as configured: addresses, MTU, ports. `previous` are the external interfaces it had.
 * Throws `conflict` for an interface of that name that is no bridge.
 */
export async function ensureBridge(
  exec: Exec,
  config: BridgeConfig,
  hwaddr: string,
  previous: string[],
): Promise<void> {
  const { name } = config;
  const exists = linkExists(name);
  if (exists && !isBridge(name)) throw notManaged(name);
  const batch: string[] = exists ? [] : [`link add name ${name} type bridge`];
  const ports = bridgePorts(name);
  const wanted = [config.ipv4, config.ipv6].flatMap((family) => (family ? [cidr(family.subnet)] : []));
  const present = exists ? await readAddresses(exec, name) : [];
  for (const old of present) if (!wanted.includes(old)) batch.push(`address delete ${old} dev ${name}`);
  if (readLink(name, 'address') !== hwaddr.toLowerCase()) batch.push(`link set dev ${name} address ${hwaddr}`);
  batch.push(`link set dev ${name} mtu ${config.mtu} up`);
  for (const address of wanted) {
    if (!present.includes(address))
      batch.push(`address replace ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`);
  }
  for (const external of newExternals(config, ports)) {
    batch.push(`link set dev ${external} up master ${name}`);
  }
  for (const gone of previous) {
    if (ports.includes(gone) && !config.externalInterfaces.includes(gone)) batch.push(`link set dev ${gone} nomaster`);
  }
  await exec('ip', ['-batch', '-'], { input: `${batch.join('\n')}\n` });
  setSysctl(`ipv6/conf/${name}/accept_ra`, '0');
  enableRouting(config);
}

/** The routes behind the bridge, and none that were asked for before. */
export async function ensureRoutes(exec: Exec, config: BridgeConfig): Promise<void> {
  for (const [family, routes] of [
    ['-4', config.ipv4?.routes ?? []],
    ['-6', config.ipv6?.routes ?? []],
  ] as const) {
    const { stdout } = await exec('ip', [family, '-o', 'route', 'show', 'dev', config.name, 'proto', 'static']);
    const present = stdout.split('\n').flatMap((line) => line.split(' ')[0] || []);
    // The kernel shows a host's route without its length.
    const isThere = (route: string) => present.includes(route) || present.includes(route.replace(/\/(32|128)$/, ''));
    if (present.length === routes.length && routes.every(isThere)) continue;
    await exec('ip', [family, 'route', 'flush', 'dev', config.name, 'proto', 'static']);
    for (const route of routes) {
      await exec('ip', [family, 'route', 'replace', route, 'dev', config.name, 'proto', 'static']);
    }
  }
}

/** Removes the bridge; absent is fine. */
export async function deleteBridge(exec: Exec, name: string): Promise<void> {
  if (!isBridge(name)) return;
  await exec('ip', ['link', 'delete', 'dev', name]);
}

/** Refusal to take over somebody else's interface. */
export const notManaged = (name: string) =>
  conflict(`The network "${name}" already exists on the host and is not managed by Longshore`);
