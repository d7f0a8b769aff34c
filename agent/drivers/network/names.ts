/**
 * What DNS on this host answers for instances. A network's dnsmasq knows its own instances by their reservations; here are the
 * others: those of other networks, and those of other hosts as the control plane told them. Pure.
 */
import ipaddr from 'ipaddr.js';
import type { InstanceNames } from '#protocol/instance-names.ts';
import { hostName } from '#protocol/names.ts';
import type { BridgeConfig } from './config.ts';
import { dnsName } from './reservations.ts';
import type { Reservation } from './store.ts';

/** LXD's default domain, for NICs on bridges that are not ours. */
export const DEFAULT_DOMAIN = 'lxd';

/** One address of one name, on the bridge `network`. */
export interface NameEntry {
  name: string;
  domain: string;
  network: string;
  address: string;
}

/** A network of this host with what is reserved in it. */
export interface NamedNetwork {
  config: BridgeConfig;
  reservations: readonly Reservation[];
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

const byText = (a: string, b: string) => (a < b ? -1 : Number(a > b));

/** Every name that DNS here should know, each address once, in an order that depends on nothing else. */
export function nameEntries(networks: readonly NamedNetwork[], cluster: readonly InstanceNames[]): NameEntry[] {
  const configs = new Map(networks.map(({ config }) => [config.name, config]));
  const own = networks.flatMap(({ config, reservations }) =>
    config.dnsMode !== 'managed'
      ? []
      : reservations
          .filter(({ named }) => named)
          .flatMap(({ instance, ipv4, ipv6 }) =>
            [ipv4, ipv6].flatMap((address): NameEntry[] =>
              address === null
                ? []
                : [{ name: dnsName(instance), domain: config.dnsDomain, network: config.name, address }],
            ),
          ),
  );
  // What is reserved here, up or not, is known better here.
  const reserved = new Set(
    networks.flatMap(({ config, reservations }) =>
      reservations.map(({ instance }) => `${config.name} ${dnsName(instance)}`),
    ),
  );
  const told = cluster.flatMap(({ project, name: instance, addresses }) => {
    const name = dnsName(hostName(project, instance));
    if (!NAME.test(name)) return [];
    return addresses.flatMap(({ network, address }): NameEntry[] => {
      const config = configs.get(network);
      const isOurs = config === undefined || config.dnsMode === 'managed';
      if (!isOurs || reserved.has(`${network} ${name}`) || !ipaddr.isValid(address) || address.includes('%')) return [];
      return [
        { name, domain: config?.dnsDomain ?? DEFAULT_DOMAIN, network, address: ipaddr.parse(address).toString() },
      ];
    });
  });
  const unique = new Map([...own, ...told].map((entry) => [`${entry.name} ${entry.network} ${entry.address}`, entry]));
  return [...unique.entries()].sort(([a], [b]) => byText(a, b)).map(([, entry]) => entry);
}

/** The entries that the dnsmasq of `network` is told beside its own reservations: there, an address on it is the right one. */
export function entriesBeside(network: NamedNetwork, entries: readonly NameEntry[]): NameEntry[] {
  const { config, reservations } = network;
  if (config.dnsMode !== 'managed') return [];
  const own = new Set(reservations.map(({ instance }) => dnsName(instance)));
  const here = new Set(entries.filter((entry) => entry.network === config.name).map(({ name }) => name));
  return entries.filter(({ name, network: at }) => (here.has(name) ? at === config.name && !own.has(name) : true));
}

/** Lines `ADDRESS NAME NAME.DOMAIN` of a hosts file. */
export const hostsText = (entries: readonly NameEntry[]): string =>
  entries.map(({ address, name, domain }) => `${address} ${name} ${name}.${domain}\n`).join('');
