/** What a network driver does for managed networks on this host. Verbs are safe to repeat. */
import type { NetworkSpec } from '#protocol/commands.ts';
import type { InstanceNames } from '#protocol/instance-names.ts';
import type { Lease } from '#protocol/queries.ts';

/** One NIC of an instance on a managed bridge. */
export interface NicRequest {
  /** Unique per host and instance: LXD's `project_instance` or bare name. */
  instance: string;
  device: string;
  network: string;
  hwaddr: string;
  /** From the device's `ipv4.address` / `ipv6.address`: a fixed address, else the driver picks one and keeps it. */
  ipv4Address: string | null;
  ipv6Address: string | null;
}

/** What the instance driver writes into the container's config. */
export interface NicAttachment {
  bridge: string;
  mtu: number;
  /** `10.1.2.34/24`, or null where the network gives none. */
  ipv4: string | null;
  ipv4Gateway: string | null;
  ipv6: string | null;
  ipv6Gateway: string | null;
}

export interface NetworkDriver {
  /**
   * Bridge, addresses, dnsmasq, NAT. `auto` addresses take the preferred subnet, or a free one of this host when that is in
   * use. Returns the keys decided. Refuses to take over an interface it did not make.
   */
  create(
    network: NetworkSpec,
    preferred: { ipv4: string | null; ipv6: string | null },
  ): Promise<Record<string, string>>;
  update(network: NetworkSpec): Promise<Record<string, string>>;
  /** Bridge, dnsmasq, rules, leases and state files gone. Absent is fine. */
  delete(name: string): Promise<void>;
  /** Brings every known network up again: after a boot or an agent restart. Running dnsmasq processes are adopted. */
  restore(): Promise<void>;
  /** Reserves the address and name before the instance starts. The same request gets the same answer. */
  reserve(nic: NicRequest): Promise<NicAttachment>;
  /** Forgets the reservation and its lease. Absent is fine. */
  release(instance: string, device: string): Promise<void>;
  /** Moves reservations to a new instance name. */
  renameInstance(instance: string, newInstance: string): Promise<void>;
  /** The instance has come up or gone down: DNS knows it, or knows it no more. Absent is fine. */
  announce(instance: string, up: boolean): Promise<void>;
  /** The cluster's instances as the control plane tells them: DNS here answers for those of other hosts, too. */
  serveNames(cluster: readonly InstanceNames[]): Promise<void>;
  /** The host leaves its cluster: no name of it is known here any more, and the host's resolver is as it was. */
  withdrawNames(): Promise<void>;
  leases(network: string): Promise<Lease[]>;
  /** LXD's network state object (lxd-api 5.6), snake_case. */
  state(network: string): Promise<Record<string, unknown>>;
}
