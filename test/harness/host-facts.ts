/** What a host of no importance tells of itself. */
import type { HostLoad, HostResources } from '#protocol/inventory.ts';

export const RESOURCES: HostResources = {
  ...{ architecture: 'x86_64', kernel: 'Linux', kernelVersion: '6', osName: 'Debian', osVersion: '12' },
  ...{ lxcVersion: '5.0.2', cpuCount: 2, memoryTotalBytes: 2 ** 33, storageDrivers: [], interfaces: [], addresses: [] },
};
export const LOAD: HostLoad = { memoryTotalBytes: 2 ** 33, memoryAvailableBytes: 2 ** 32, cpuCount: 2, cpuLoad: 0 };
