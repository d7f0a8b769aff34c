/** An instance's runtime state as the API shows it, and what a state request may ask for (lxd-api 10.2, 6.4). Pure. */
import { StateAction } from '#protocol/commands.ts';
import { badRequest } from '#protocol/errors.ts';
import type { HostEventAction } from '#protocol/host-events.ts';
import type { InstanceState, NicState } from '#protocol/inventory.ts';
import type { InstanceStatePut } from './instance.ts';

export const STATUS_CODES = { Running: 103, Stopped: 102, Frozen: 110, Error: 112 } as const;
export type ApiStatus = keyof typeof STATUS_CODES;

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

/** What operations on an instance's state are called. */
export const STATE_DESCRIPTIONS: Record<StateAction, string> = {
  start: 'Starting instance',
  stop: 'Stopping instance',
  restart: 'Restarting instance',
  freeze: 'Freezing instance',
  unfreeze: 'Unfreezing instance',
};

/** The lifecycle event of an action that was carried out. */
export function stateEvent({ action, force }: { action: StateAction; force: boolean }): HostEventAction {
  switch (action) {
    case 'start':
      return 'instance-started';
    case 'stop':
      return force ? 'instance-stopped' : 'instance-shutdown';
    case 'restart':
      return 'instance-restarted';
    case 'freeze':
      return 'instance-paused';
    case 'unfreeze':
      return 'instance-resumed';
  }
}

/** A year: what waits longer waits for ever, and the member's timers can hold it. */
const TIMEOUT_LIMIT_S = 366 * 86_400;

/** Throws LXD's refusals of a state request, whatever the instance. */
export function readStateRequest(body: InstanceStatePut): {
  action: StateAction;
  timeoutSeconds: number;
  force: boolean;
} {
  const action = StateAction.safeParse(body.action);
  if (!action.success) throw badRequest(`Unknown action: '${body.action.slice(0, 64)}'`);
  if (body.stateful) throw badRequest('Stateful start and stop are not supported in this version');
  const timeoutSeconds = Math.min(Math.max(body.timeout, -1), TIMEOUT_LIMIT_S);
  return { action: action.data, timeoutSeconds, force: body.force };
}

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
