/** What an agent reports of its host: full at connect, deltas after. */
import { z } from 'zod';

export const InstanceStatus = z.enum(['Running', 'Stopped', 'Frozen', 'Error']);
export type InstanceStatus = z.infer<typeof InstanceStatus>;

export const NetworkAddress = z.object({
  family: z.enum(['inet', 'inet6']),
  address: z.string(),
  netmask: z.string(),
  scope: z.enum(['global', 'link', 'local']),
});

export const NicState = z.object({
  addresses: z.array(NetworkAddress),
  counters: z.object({
    bytesReceived: z.number(),
    bytesSent: z.number(),
    packetsReceived: z.number(),
    packetsSent: z.number(),
    errorsReceived: z.number(),
    errorsSent: z.number(),
    packetsDroppedOutbound: z.number(),
    packetsDroppedInbound: z.number(),
  }),
  hwaddr: z.string(),
  hostName: z.string(),
  mtu: z.number(),
  state: z.string(),
  type: z.string(),
});
export type NicState = z.infer<typeof NicState>;

/** The runtime figures of one instance (LXD's instance state). Byte and nanosecond counts; 0 when stopped or unknown. */
export const InstanceState = z.object({
  pid: z.number().int(),
  processes: z.number().int(),
  cpuUsageNs: z.number(),
  memory: z.object({ usage: z.number(), usagePeak: z.number(), swapUsage: z.number(), swapUsagePeak: z.number() }),
  /** Device name → bytes used. */
  disk: z.record(z.string(), z.object({ usageBytes: z.number() })),
  /** Interface name → state; null when stopped. */
  network: z.record(z.string(), NicState).nullable(),
});
export type InstanceState = z.infer<typeof InstanceState>;

export const InstanceReport = z.object({
  project: z.string(),
  name: z.string(),
  status: InstanceStatus,
  state: InstanceState.nullable(),
  /** Why it is in `Error`, as people read it. */
  problem: z.string().max(512).optional(),
});
export type InstanceReport = z.infer<typeof InstanceReport>;

/** What the host is: changes seldom. Shown in `lxc info` and used by placement. */
export const HostResources = z.object({
  architecture: z.string(),
  kernel: z.string(),
  kernelVersion: z.string(),
  osName: z.string(),
  osVersion: z.string(),
  lxcVersion: z.string(),
  cpuCount: z.number().int(),
  memoryTotalBytes: z.number(),
  /** Usable storage drivers with their tools' versions. */
  storageDrivers: z.array(z.object({ name: z.string(), version: z.string() })),
  /** Host interfaces that Longshore does not manage. */
  interfaces: z.array(
    z.object({
      name: z.string(),
      type: z.enum(['loopback', 'physical', 'bridge', 'vlan', 'bond', 'unknown']),
      hwaddr: z.string(),
    }),
  ),
  /** The host's own addresses, for `lxc info` and the member's URL. */
  addresses: z.array(z.string()),
});
export type HostResources = z.infer<typeof HostResources>;

/** The host's figures for people (LXD's member state). What has moved little is not told again for a while. */
export const HostState = z.object({
  uptimeSeconds: z.number(),
  /** Of 1, 5 and 15 minutes. */
  loadAverages: z.array(z.number()),
  processes: z.number().int(),
  memory: z.object({
    totalBytes: z.number(),
    freeBytes: z.number(),
    sharedBytes: z.number(),
    bufferedBytes: z.number(),
    swapTotalBytes: z.number(),
    swapFreeBytes: z.number(),
  }),
  /** Of the pools that are open on the host. */
  pools: z.record(
    z.string(),
    z.object({
      space: z.object({ usedBytes: z.number(), totalBytes: z.number() }),
      inodes: z.object({ used: z.number(), total: z.number() }),
    }),
  ),
});
export type HostState = z.infer<typeof HostState>;

/** What placement looks at. CPU load is the one-minute average. */
export const HostLoad = z.object({
  memoryTotalBytes: z.number(),
  memoryAvailableBytes: z.number(),
  cpuCount: z.number().int(),
  cpuLoad: z.number(),
});
export type HostLoad = z.infer<typeof HostLoad>;
