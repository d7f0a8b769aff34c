/**
 * The network between simulated hosts: one router, one subnet per host, and a router that lets hosts open connections to the
 * control plane and nothing else. Hosts share no layer 2, cannot reach each other, and cannot be reached.
 *
 * The machine itself gets one interface (`<prefix>c`), one address and one route; the rest is in network namespaces.
 */
import { randomInt } from 'node:crypto';
import { run } from '../run.ts';

export interface Net {
  /** Names everything: `ls` and the second octet. Two runs never share it. */
  prefix: string;
  octet: number;
}

/** 10.64.0.0 to 10.127.255.255: rarely used by sites, and clear of the 10.x networks that LXD's bridges take first. */
const FIRST_OCTET = 64;
const LAST_OCTET = 127;

export const netOf = (octet: number): Net => ({ prefix: `ls${octet}`, octet });
export const routerOf = (net: Net): string => `${net.prefix}-rtr`;
export const netnsOf = (net: Net, host: number): string => `${net.prefix}-h${host}`;
/** Where hosts find the control plane. */
export const controlAddressOf = (net: Net): string => `10.${net.octet}.0.10`;
export const hostAddressOf = (net: Net, host: number): string => `10.${net.octet}.${host}.10`;
export const MAX_HOSTS = 250;

/** Second octets of the 10.x.0.0/16 that the machine's addresses and routes touch. Takes `ip -o -4 addr` and `route` text. */
export function usedOctets(text: string): Set<number> {
  return new Set([...text.matchAll(/\b10\.(\d{1,3})\.\d/g)].map((match) => Number(match[1])));
}

/**
 * Takes a free /16 and builds the router. The router's namespace is the claim: making it is atomic, so runs that start
 * together cannot take the same. `onClaim` hears of it before anything else is built. Throws when all 64 are taken.
 */
export async function createNet(onClaim: (net: Net) => void): Promise<Net> {
  const looks = await Promise.all([run('ip', ['-o', '-4', 'addr']), run('ip', ['-o', '-4', 'route'])]);
  const used = usedOctets(looks.map((look) => look.stdout).join('\n'));
  const count = LAST_OCTET - FIRST_OCTET + 1;
  const start = randomInt(count);
  for (let i = 0; i < count; i++) {
    const octet = FIRST_OCTET + ((start + i) % count);
    if (used.has(octet)) continue;
    const net = netOf(octet);
    const claim = await run('ip', ['netns', 'add', routerOf(net)], { allowFailure: true });
    if (claim.code !== 0) continue;
    onClaim(net);
    await buildRouter(net);
    return net;
  }
  throw new Error('No free 10.x.0.0/16 between 10.64 and 10.127 for the simulated hosts');
}

async function buildRouter(net: Net): Promise<void> {
  const router = routerOf(net);
  const uplink = `${net.prefix}c`;
  await run('ip', ['link', 'add', uplink, 'type', 'veth', 'peer', 'name', 'ctl', 'netns', router]);
  await batch(router, ['link set lo up', `addr add 10.${net.octet}.0.1/24 dev ctl`, 'link set ctl up']);
  await run('ip', ['netns', 'exec', router, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  const rules = `table inet longshore {
  chain c_forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "h*" oifname "ctl" accept
  }
}
`;
  await run('ip', ['netns', 'exec', router, 'nft', '-f', '-'], { input: rules });
  await batch(null, [
    `addr add ${controlAddressOf(net)}/24 dev ${uplink}`,
    `link set ${uplink} up`,
    `route add 10.${net.octet}.0.0/16 via 10.${net.octet}.0.1`,
  ]);
}

/** A namespace with one interface, `eth0`, and the router as its way out. */
export async function addHostNet(net: Net, host: number): Promise<void> {
  const [router, netns, subnet] = [routerOf(net), netnsOf(net, host), `10.${net.octet}.${host}`];
  await run('ip', ['netns', 'add', netns]);
  await run('ip', ['-n', router, 'link', 'add', `h${host}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns]);
  await batch(router, [`addr add ${subnet}.1/24 dev h${host}`, `link set h${host} up`]);
  await batch(netns, [
    'link set lo up',
    `addr add ${subnet}.10/24 dev eth0`,
    'link set eth0 up',
    `route add default via ${subnet}.1`,
  ]);
}

/** Unplugs the host's cable, silently for both ends' programs; `healHost` plugs it in again. */
export const cutHost = (net: Net, host: number): Promise<void> => batch(routerOf(net), [`link set h${host} down`]);

export const healHost = (net: Net, host: number): Promise<void> => batch(routerOf(net), [`link set h${host} up`]);

/** As after a power cut: no rules, no links but the cable. */
export async function resetHostNet(net: Net, host: number): Promise<void> {
  const netns = netnsOf(net, host);
  await run('ip', ['netns', 'exec', netns, 'nft', 'flush', 'ruleset']);
  const links = await run('ip', ['-n', netns, '-o', 'link']);
  for (const [, name = ''] of links.stdout.matchAll(/^\d+: ([^:@\s]+)/gm)) {
    if (name === 'lo' || name === 'eth0') continue;
    await run('ip', ['-n', netns, 'link', 'del', name], { allowFailure: true });
  }
}

export async function removeHostNet(net: Net, host: number): Promise<void> {
  await run('ip', ['-n', routerOf(net), 'link', 'del', `h${host}`], { allowFailure: true });
  await run('ip', ['netns', 'del', netnsOf(net, host)], { allowFailure: true });
}

/** Everything of the run, known or not: what is named by its prefix. */
export async function removeNet(net: Net): Promise<void> {
  const list = await run('ip', ['netns', 'list']);
  const names = list.stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
  for (const name of names.filter((name) => name.startsWith(`${net.prefix}-`))) await run('ip', ['netns', 'del', name]);
  await run('ip', ['link', 'del', `${net.prefix}c`], { allowFailure: true });
}

/** Several `ip` commands in one process. */
async function batch(netns: string | null, lines: readonly string[]): Promise<void> {
  const where = netns === null ? [] : ['-n', netns];
  await run('ip', [...where, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}
