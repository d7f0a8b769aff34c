/**
 * Instances as the API shows them (lxd-api 10.1, 10.2). Pure, and quick: a list of hundreds is rendered per `lxc list`, so
 * profiles are expanded once per set and nothing is validated on the way out.
 */
import type { InstanceState, NicState } from '#protocol/inventory.ts';
import { type Config, type Devices, expandConfig, expandDevices } from '#worker/domain/config.ts';
import type { InstanceRow, ProfileLayer } from '#worker/state/instance-queries.ts';

export const STATUS_CODES = { Running: 103, Stopped: 102, Frozen: 110, Error: 112 } as const;
export type ApiStatus = keyof typeof STATUS_CODES;

/** LXD's "never used". */
const NEVER = '1970-01-01T00:00:00Z';

export interface ApiInstanceState {
  status: ApiStatus;
  status_code: number;
  disk: Record<string, { usage: number }>;
  memory: { usage: number; usage_peak: number; swap_usage: number; swap_usage_peak: number };
  network: Record<string, ReturnType<typeof renderNic>> | null;
  pid: number;
  processes: number;
  cpu: { usage: number };
}

export interface ApiInstance {
  name: string;
  type: string;
  architecture: string;
  description: string;
  ephemeral: boolean;
  stateful: boolean;
  profiles: string[];
  config: Config;
  devices: Devices;
  expanded_config: Config;
  expanded_devices: Devices;
  status: ApiStatus;
  status_code: number;
  created_at: string;
  last_used_at: string;
  location: string;
  project: string;
}

export type ApiInstanceFull = ApiInstance & { backups: null; snapshots: null; state: ApiInstanceState };

function renderNic(nic: NicState) {
  const { counters } = nic;
  return {
    addresses: nic.addresses.map(({ family, address, netmask, scope }) => ({ family, address, netmask, scope })),
    counters: {
      bytes_received: counters.bytesReceived,
      bytes_sent: counters.bytesSent,
      packets_received: counters.packetsReceived,
      packets_sent: counters.packetsSent,
      errors_received: counters.errorsReceived,
      errors_sent: counters.errorsSent,
      packets_dropped_outbound: counters.packetsDroppedOutbound,
      packets_dropped_inbound: counters.packetsDroppedInbound,
    },
    hwaddr: nic.hwaddr,
    host_name: nic.hostName,
    mtu: nic.mtu,
    state: nic.state,
    type: nic.type,
  };
}

const mapValues = <T, U>(map: Record<string, T>, to: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(map).map(([key, value]) => [key, to(value)]));

/** LXD's state object; zeros for an instance of which no figures are known. */
export function renderState(status: ApiStatus, state: InstanceState | null): ApiInstanceState {
  const memory = state?.memory;
  return {
    status,
    status_code: STATUS_CODES[status],
    disk: mapValues(state?.disk ?? {}, ({ usageBytes }) => ({ usage: usageBytes })),
    memory: {
      usage: memory?.usage ?? 0,
      usage_peak: memory?.usagePeak ?? 0,
      swap_usage: memory?.swapUsage ?? 0,
      swap_usage_peak: memory?.swapUsagePeak ?? 0,
    },
    network: state?.network ? mapValues(state.network, renderNic) : null,
    pid: state?.pid ?? 0,
    processes: state?.processes ?? 0,
    cpu: { usage: state?.cpuUsageNs ?? 0 },
  };
}

/** What is shown while the member is away: `Error`, as in LXD, whatever was reported last. */
export const shownStatus = (row: Pick<InstanceRow, 'status'>, online: boolean): ApiStatus =>
  online ? row.status : 'Error';

/** The profiles of one instance, merged; the same object for all instances with the same profiles. */
export interface ProfileBase {
  config: Config;
  devices: Devices;
}

export const mergeProfiles = (layers: readonly ProfileLayer[]): ProfileBase => ({
  config: expandConfig(layers, {}),
  devices: expandDevices(layers, {}),
});

/** The whole instance without its runtime state. */
export function renderInstance(row: InstanceRow, base: ProfileBase, online: boolean): ApiInstance {
  const status = shownStatus(row, online);
  return {
    architecture: row.architecture,
    config: row.config,
    devices: row.devices,
    ephemeral: row.ephemeral,
    profiles: row.profiles,
    stateful: row.stateful,
    description: row.description,
    created_at: row.createdAt,
    expanded_config: expandConfig([base], row.config),
    expanded_devices: expandDevices([base], row.devices),
    name: row.name,
    status,
    status_code: STATUS_CODES[status],
    last_used_at: row.lastUsedAt ?? NEVER,
    location: row.member,
    type: row.type,
    project: row.project,
  };
}

/** With state, snapshots and backups. While the member is away the figures are the last ones it reported. */
export function renderInstanceFull(row: InstanceRow, base: ProfileBase, online: boolean): ApiInstanceFull {
  const instance = renderInstance(row, base, online);
  return { ...instance, backups: null, state: renderState(instance.status, row.state), snapshots: null };
}
