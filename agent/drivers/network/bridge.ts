/**
 * The `bridge` driver: a Linux bridge per network with its addresses, a dnsmasq for DHCP and DNS, and nftables for NAT.
 *
 * Invariants. A network is this driver's when its state directory exists; no other interface is ever touched. Addresses are
 * decided here before an instance starts, so that it has its own when it runs: reservations are on disk before they are
 * answered, and the same request gets the same answer.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '#agent/log.ts';
import type { Exec } from '#agent/system/exec.ts';
import { createKeyedLock } from '#agent/system/lock.ts';
import type { NetworkSpec } from '#protocol/commands.ts';
import { badRequest, conflict, notFound } from '#protocol/errors.ts';
import { hasLineBreak } from '#protocol/names.ts';
import { sendRelease } from './dhcp-release.ts';
import { dnsmasqArgs, ensureDnsmasq, reloadDnsmasq, stopDnsmasq } from './dnsmasq.ts';
import type { NetworkDriver, NicAttachment, NicRequest } from './driver.ts';
import { deleteBridge, ensureBridge, findLink, linkState, listSubnets } from './ip-link.ts';
import { listLeases, parseLeases } from './leases.ts';
import { bridgeRules, removeRules } from './nftables.ts';
import {
  findNetwork,
  forgetNetwork,
  listNetworks,
  type NetworkPaths,
  networkPaths,
  type Reservation,
  readReservations,
  readText,
  replaceFile,
  type StoredNetwork,
  saveNetwork,
  saveReservations,
} from './store.ts';
import { type Cidr, eui64, isHostAddress, overlaps, parseCidr, pickIpv4 } from './subnets.ts';

export interface BridgeDeps {
  exec: Exec;
  dataDir: string;
  runDir: string;
  log: Log;
}

const DEFAULT_MTU = 1500;
/** How often a random subnet is tried before the host counts as full. */
const AUTO_ATTEMPTS = 500;

export function createBridgeDriver(deps: BridgeDeps): NetworkDriver {
  const { exec, dataDir, runDir, log } = deps;
  const lock = createKeyedLock();
  const pidFile = (name: string) => join(runDir, `dnsmasq-${name}.pid`);

  async function bringUp(paths: NetworkPaths, stored: StoredNetwork): Promise<void> {
    const { network, hwaddr } = stored;
    const { name, config } = network;
    const addresses = { ipv4: addressOf(config, 'ipv4'), ipv6: addressOf(config, 'ipv6') };
    const mtu = Number(config['bridge.mtu'] ?? DEFAULT_MTU);
    const externalInterfaces = (config['bridge.external_interfaces'] ?? '')
      .split(',')
      .map((it) => it.trim())
      .filter(Boolean);
    await ensureBridge(exec, { name, hwaddr, mtu, ...addresses, externalInterfaces }, await findLink(exec, name));
    await exec('nft', ['-f', '-'], { input: bridgeRules({ name, config, ...addresses }) });
    await mkdir(runDir, { recursive: true, mode: 0o711 });
    await ensureDnsmasq(
      exec,
      dnsmasqArgs({ name, config, ...addresses, mtu }, paths, pidFile(name)),
      paths,
      pidFile(name),
    );
  }

  /** Stores and brings up; answers the addresses as decided. */
  async function apply(paths: NetworkPaths, stored: StoredNetwork): Promise<Record<string, string>> {
    await saveNetwork(paths, stored);
    await bringUp(paths, stored);
    const { config } = stored.network;
    const keys = ['ipv4.address', 'ipv6.address'];
    return Object.fromEntries(keys.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]])));
  }

  async function freeSubnet(name: string, preferred: string | null): Promise<string> {
    const used = await listSubnets(exec, name);
    const free = (cidr: string) => used.every((other) => !overlaps(cidr, other));
    if (preferred !== null && free(preferred)) return preferred;
    for (let attempt = 0; attempt < AUTO_ATTEMPTS; attempt++) {
      const [high = 0, low = 0] = randomBytes(2);
      const cidr = `10.${high}.${low}.1/24`;
      if (free(cidr)) return cidr;
    }
    throw conflict('Failed generating auto config: No free IPv4 subnet on this host');
  }

  /** Turns `auto` into an address: what it was, else what is preferred, else what is free. */
  async function resolve(
    network: NetworkSpec,
    before: NetworkSpec | null,
    preferred: { ipv4: string | null; ipv6: string | null },
  ) {
    const config = { ...network.config };
    refuseLineBreaks(config);
    if (config['ipv4.address'] === 'auto') {
      config['ipv4.address'] = before?.config['ipv4.address'] ?? (await freeSubnet(network.name, preferred.ipv4));
    }
    if (config['ipv6.address'] === 'auto') {
      config['ipv6.address'] = before?.config['ipv6.address'] ?? preferred.ipv6 ?? randomUla();
    }
    return { ...network, config };
  }

  async function getStored(paths: NetworkPaths): Promise<StoredNetwork> {
    const stored = await findNetwork(paths);
    if (stored === null) throw notFound('Network');
    return stored;
  }

  async function changeReservations(
    paths: NetworkPaths,
    change: (reservations: Reservation[]) => Reservation[],
  ): Promise<void> {
    const before = await readReservations(paths);
    const after = change(before);
    await saveReservations(paths, after);
    const gone = before.filter((old) => !after.some((it) => hostFile(it) === hostFile(old)));
    for (const old of gone) await rm(join(paths.hosts, hostFile(old)), { force: true });
  }

  async function release(paths: NetworkPaths, name: string, instance: string, device: string): Promise<void> {
    const mine = (it: Reservation) => it.instance === instance && it.device === device;
    const released = (await readReservations(paths)).filter(mine);
    if (released.length === 0) return;
    await changeReservations(paths, (all) => all.filter((it) => !mine(it)));
    await reloadDnsmasq(paths, pidFile(name));
    const server = addressOf((await getStored(paths)).network.config, 'ipv4')?.address;
    const leased = parseLeases((await readText(paths.leases)) ?? '');
    for (const { address, hwaddr } of leased.filter((lease) => released.some((it) => it.hwaddr === lease.hwaddr))) {
      if (server !== undefined) await sendRelease({ address, hwaddr, server });
    }
  }

  return {
    create: (network, preferred) =>
      lock.run(network.name, async () => {
        const paths = networkPaths(dataDir, network.name);
        const before = await findNetwork(paths);
        if (before === null && (await findLink(exec, network.name)) !== null) {
          throw conflict(
            `Network interface "${network.name}" already exists on this host and is not managed by Longshore`,
          );
        }
        const hwaddr = network.config['bridge.hwaddr'] ?? before?.hwaddr ?? randomHwaddr();
        return apply(paths, { network: await resolve(network, before?.network ?? null, preferred), hwaddr });
      }),

    update: (network) =>
      lock.run(network.name, async () => {
        const paths = networkPaths(dataDir, network.name);
        const before = await getStored(paths);
        const resolved = await resolve(network, before.network, { ipv4: null, ipv6: null });
        return apply(paths, { network: resolved, hwaddr: network.config['bridge.hwaddr'] ?? before.hwaddr });
      }),

    delete: (name) =>
      lock.run(name, async () => {
        const paths = networkPaths(dataDir, name);
        if ((await findNetwork(paths)) === null) return;
        await stopDnsmasq(paths, pidFile(name));
        await exec('nft', ['-f', '-'], { input: removeRules(name) });
        await deleteBridge(exec, name);
        await forgetNetwork(paths);
      }),

    restore: async () => {
      for (const name of await listNetworks(dataDir)) {
        await lock.run(name, async () => {
          const paths = networkPaths(dataDir, name);
          const stored = await findNetwork(paths);
          if (stored === null) return;
          // One network that cannot come up (its external interface is gone) must not keep the others down.
          await bringUp(paths, stored).catch((err: unknown) =>
            log.error('network.restore.failed', { network: name, err }),
          );
        });
      }
    },

    reserve: (nic) =>
      lock.run(nic.network, async () => {
        const paths = networkPaths(dataDir, nic.network);
        const { network } = await getStored(paths);
        const reservations = await readReservations(paths);
        const existing = reservations.find((it) => it.instance === nic.instance && it.device === nic.device);
        const leased = parseLeases((await readText(paths.leases)) ?? '');
        const reservation = decide(nic, network.config, reservations, leased, existing);
        if (existing === undefined || JSON.stringify(existing) !== JSON.stringify(reservation)) {
          await changeReservations(paths, (all) => [
            ...all.filter((it) => it !== existing && hostFile(it) !== hostFile(reservation)),
            reservation,
          ]);
        }
        await replaceFile(join(paths.hosts, hostFile(reservation)), hostLine(reservation));
        return attachment(network, reservation);
      }),

    release: async (instance, device) => {
      for (const name of await listNetworks(dataDir)) {
        await lock.run(name, () => release(networkPaths(dataDir, name), name, instance, device));
      }
    },

    renameInstance: async (instance, newInstance) => {
      for (const name of await listNetworks(dataDir)) {
        await lock.run(name, async () => {
          const paths = networkPaths(dataDir, name);
          const moved = (await readReservations(paths)).filter((it) => it.instance === instance);
          if (moved.length === 0) return;
          const renamed = moved.map((it) => ({ ...it, instance: newInstance }));
          await changeReservations(paths, (all) => [...all.filter((it) => it.instance !== instance), ...renamed]);
          for (const it of renamed) await replaceFile(join(paths.hosts, hostFile(it)), hostLine(it));
          await reloadDnsmasq(paths, pidFile(name));
        });
      }
    },

    leases: async (name) => {
      const paths = networkPaths(dataDir, name);
      const { network, hwaddr } = await getStored(paths);
      const bridge = { name, hwaddr, ipv4: addressOf(network.config, 'ipv4'), ipv6: addressOf(network.config, 'ipv6') };
      return listLeases(bridge, await readReservations(paths), parseLeases((await readText(paths.leases)) ?? ''));
    },

    state: async (name) => {
      const link = await findLink(exec, name);
      if (link === null) throw notFound('Network');
      return linkState(link);
    },
  };
}

/** The bridge's address of a family; null for `none` and for a network without one. */
function addressOf(config: Record<string, string>, family: 'ipv4' | 'ipv6'): Cidr | null {
  const text = config[`${family}.address`];
  return text === undefined || text === '' || text === 'none' || text === 'auto' ? null : parseCidr(family, text);
}

/** Which addresses a NIC gets. Throws `conflict` for a fixed address that is taken, `bad_request` for one out of the subnet. */
function decide(
  nic: NicRequest,
  config: Record<string, string>,
  reservations: readonly Reservation[],
  leased: readonly { hwaddr: string; address: string }[],
  existing: Reservation | undefined,
): Reservation {
  const { instance, device, hwaddr } = nic;
  refuseLineBreaks({ instance, device, hwaddr, ipv4: nic.ipv4Address ?? '', ipv6: nic.ipv6Address ?? '' });
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(hwaddr)) throw badRequest(`Invalid MAC address "${hwaddr}"`);
  const ipv4 = addressOf(config, 'ipv4');
  const ipv6 = addressOf(config, 'ipv6');
  const others = reservations.filter((it) => it !== existing);
  const taken = new Set(others.flatMap((it) => it.ipv4 ?? []));
  const fixed = nic.ipv4Address !== null && nic.ipv4Address !== 'none';
  if (nic.ipv4Address !== null && fixed) {
    if (ipv4 === null || !isHostAddress(ipv4, nic.ipv4Address)) {
      throw badRequest(`Device IP address "${nic.ipv4Address}" not within network "${nic.network}" subnet`);
    }
    if (taken.has(nic.ipv4Address)) throw conflict(`IP address "${nic.ipv4Address}" already defined on another NIC`);
  }
  const keep = existing?.ipv4 != null && ipv4 !== null && isHostAddress(ipv4, existing.ipv4) ? existing.ipv4 : null;
  for (const lease of leased) if (lease.hwaddr !== hwaddr) taken.add(lease.address);
  const choose = () => {
    if (ipv4 === null || nic.ipv4Address === 'none') return null;
    if (nic.ipv4Address !== null) return nic.ipv4Address;
    const address = keep ?? pickIpv4(ipv4, taken);
    if (address === null) throw conflict(`Network "${nic.network}" has no free IPv4 address`);
    return address;
  };
  const address6 = ipv6 === null ? null : (nic.ipv6Address ?? eui64(ipv6, hwaddr));
  return { instance, device, hwaddr, ipv4: choose(), ipv6: address6, fixed };
}

function attachment(network: NetworkSpec, reservation: Reservation): NicAttachment {
  const ipv4 = addressOf(network.config, 'ipv4');
  const ipv6 = addressOf(network.config, 'ipv6');
  return {
    bridge: network.name,
    mtu: Number(network.config['bridge.mtu'] ?? DEFAULT_MTU),
    ipv4: reservation.ipv4 === null || ipv4 === null ? null : `${reservation.ipv4}/${ipv4.prefix}`,
    ipv4Gateway: ipv4?.address ?? null,
    ipv6: reservation.ipv6 === null || ipv6 === null ? null : `${reservation.ipv6}/${ipv6.prefix}`,
    ipv6Gateway: ipv6?.address ?? null,
  };
}

/** One file per NIC; device names may hold slashes and colons. */
const hostFile = (it: Reservation) => `${it.instance}.${encodeURIComponent(it.device)}`;

/** `MAC,address,[address6],name`: every part has been checked for line breaks. */
const hostLine = (it: Reservation) =>
  `${[it.hwaddr, it.ipv4, it.ipv6 === null ? null : `[${it.ipv6}]`, it.instance].filter((part) => part !== null).join(',')}\n`;

/** A line break in any of these would be a line of somebody else's in a config file. */
function refuseLineBreaks(values: Record<string, string>): void {
  for (const [key, value] of Object.entries(values)) {
    if (hasLineBreak(value) || hasLineBreak(key))
      throw badRequest(`Invalid value for "${key.slice(0, 64)}": line breaks are not allowed`);
  }
}

const randomHwaddr = () =>
  `00:16:3e:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;

/** RFC 4193: fd, 40 random bits, subnet. */
function randomUla(): string {
  const [a, b, c, d, e] = [...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'));
  return `fd${a}:${b}${c}:${d}${e}:1::1/64`;
}
