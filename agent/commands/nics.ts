/** The NIC devices of an instance: planned from its spec, reserved with their networks. */
import { createHash } from 'node:crypto';
import type { InstanceSpec, NetworkSpec } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import { hostName } from '#protocol/names.ts';
import type { InstanceNic } from '../drivers/instance/driver.ts';
import type { NicAttachment } from '../drivers/network/driver.ts';
import { readLink } from '../drivers/network/links.ts';
import type { Host } from './host.ts';

const DEFAULT_MTU = 1500;

export interface NicPlan {
  device: string;
  name: string;
  hwaddr: string;
  hostName: string;
  /** Managed network or plain host bridge. */
  parent: string;
  managed: boolean;
  ipv4Address: string | null;
  ipv6Address: string | null;
}

/**
 * Pure: what each NIC device of the spec is called and attached to. Keys that the spec leaves open are derived from the
 * instance's id, so that every run and every start decides the same. `isManaged` tells our networks from host bridges.
 */
export function planNics(spec: InstanceSpec, isManaged: (network: string) => boolean): NicPlan[] {
  const config = spec.expandedConfig;
  const devices = Object.entries(spec.expandedDevices).filter(([, device]) => device.type === 'nic');
  const taken = new Set(devices.flatMap(([device, keys]) => keys.name ?? config[`volatile.${device}.name`] ?? []));
  return devices.flatMap(([device, keys]) => {
    const parent = keys.network || keys.parent;
    if (!parent) return [];
    const name = keys.name ?? config[`volatile.${device}.name`] ?? freeName(taken);
    taken.add(name);
    return [
      {
        device,
        name,
        hwaddr: keys.hwaddr ?? config[`volatile.${device}.hwaddr`] ?? derivedHwaddr(spec.id, device),
        hostName: keys.host_name ?? `veth${digest(spec.id, device).slice(0, 8)}`,
        parent,
        managed: Boolean(keys.network) || isManaged(parent),
        ipv4Address: keys['ipv4.address'] ?? null,
        ipv6Address: keys['ipv6.address'] ?? null,
      },
    ];
  });
}

/** Reserves every planned NIC; the same plan gets the same answer. Throws `not_found` for a network the host does not have. */
export async function reserveNics(host: Host, spec: InstanceSpec): Promise<InstanceNic[]> {
  const nics: InstanceNic[] = [];
  for (const plan of planNics(spec, (network) => host.journal.networks.find(network) !== undefined)) {
    const { device, name, hwaddr } = plan;
    nics.push({ device, name, hwaddr, hostName: plan.hostName, attachment: await attach(host, spec, plan) });
  }
  return nics;
}

async function attach(host: Host, spec: InstanceSpec, plan: NicPlan): Promise<NicAttachment> {
  if (!plan.managed) {
    const none = { ipv4: null, ipv4Gateway: null, ipv6: null, ipv6Gateway: null };
    return { bridge: plan.parent, mtu: Number(readLink(plan.parent, 'mtu')) || DEFAULT_MTU, ...none };
  }
  if (host.journal.networks.find(plan.parent) === undefined) throw notFound('Network');
  return host.networks.reserve({
    instance: hostName(spec.project, spec.name),
    device: plan.device,
    network: plan.parent,
    hwaddr: plan.hwaddr,
    ipv4Address: plan.ipv4Address,
    ipv6Address: plan.ipv6Address,
  });
}

/** Gives back what `reserveNics` took. */
export async function releaseNics(host: Host, spec: InstanceSpec): Promise<void> {
  for (const [device, keys] of Object.entries(spec.expandedDevices)) {
    if (keys.type === 'nic') await host.networks.release(hostName(spec.project, spec.name), device);
  }
}

/** Makes networks that a command brings along and that this host has not been told of yet. */
export async function ensureNetworks(host: Host, networks: readonly NetworkSpec[]): Promise<void> {
  for (const network of networks) {
    if (host.journal.networks.find(network.name) !== undefined) continue;
    const decided = await host.networks.create(network, { ipv4: null, ipv6: null });
    host.journal.networks.put({ ...network, config: { ...network.config, ...decided } });
  }
}

const digest = (id: string, device: string) => createHash('sha256').update(`${id}/${device}`).digest('hex');

/** In LXD's prefix. */
const derivedHwaddr = (id: string, device: string) =>
  `00:16:3e:${digest(id, device)
    .slice(8, 14)
    .replace(/..(?!$)/g, '$&:')}`;

function freeName(taken: ReadonlySet<string>): string {
  let index = 0;
  while (taken.has(`eth${index}`)) index++;
  return `eth${index}`;
}
