/** The runtime figures of a running instance, all read from files of the kernel. */
import type { InstanceState, InstanceStatus, NicState } from '#protocol/inventory.ts';
import { type Cgroup, readCgroupFile, readCgroupNumber } from '../../system/cgroup.ts';
import { inNetworkNamespace, parseNetDev, readInterfaces } from '../../system/netns.ts';
import { readProc } from '../../system/proc.ts';
import type { InstanceNic } from './driver.ts';

/** Running, or Frozen when its control group is. */
export function runningStatus(cgroup: Cgroup): InstanceStatus {
  const freezer = cgroup.find('freezer');
  if (freezer === null) return 'Running';
  if (freezer.version === 2) {
    return readCgroupFile(freezer.directory, 'cgroup.freeze') === '1' ? 'Frozen' : 'Running';
  }
  return readCgroupFile(freezer.directory, 'freezer.state') === 'THAWED' ? 'Running' : 'Frozen';
}

function memory(cgroup: Cgroup): InstanceState['memory'] {
  const group = cgroup.find('memory');
  if (group === null) return { usage: 0, usagePeak: 0, swapUsage: 0, swapUsagePeak: 0 };
  const read = (file: string) => readCgroupNumber(group.directory, file);
  if (group.version === 2) {
    return {
      usage: read('memory.current'),
      usagePeak: read('memory.peak'),
      swapUsage: read('memory.swap.current'),
      swapUsagePeak: read('memory.swap.peak'),
    };
  }
  const usage = read('memory.usage_in_bytes');
  const usagePeak = read('memory.max_usage_in_bytes');
  return {
    usage,
    usagePeak,
    // v1 counts memory and swap together.
    swapUsage: Math.max(0, read('memory.memsw.usage_in_bytes') - usage),
    swapUsagePeak: Math.max(0, read('memory.memsw.max_usage_in_bytes') - usagePeak),
  };
}

function cpuUsageNs(cgroup: Cgroup): number {
  const v1 = cgroup.find('cpuacct');
  if (v1?.version === 1) return readCgroupNumber(v1.directory, 'cpuacct.usage');
  for (const directory of cgroup.directories) {
    const match = /^usage_usec (\d+)$/m.exec(readCgroupFile(directory, 'cpu.stat') ?? '');
    if (match) return Number(match[1]) * 1000;
  }
  return 0;
}

/** How many there are inside. */
export function processes(cgroup: Cgroup): number {
  const group = cgroup.find('pids');
  if (group !== null) return readCgroupNumber(group.directory, 'pids.current');
  const directory = cgroup.directories.at(-1);
  const list = directory === undefined ? null : readCgroupFile(directory, 'cgroup.procs');
  return (list ?? '').split('\n').filter(Boolean).length;
}

function network(pid: number, nics: InstanceNic[]): Record<string, NicState> {
  const counters = parseNetDev(readProc(pid, 'net/dev') ?? '');
  const found = inNetworkNamespace(pid, () => readInterfaces([...counters.keys()]));
  return Object.fromEntries(
    found.map((one): [string, NicState] => {
      const count = counters.get(one.name);
      const loopback = one.type === 'loopback';
      return [
        one.name,
        {
          addresses: one.addresses.map(({ family, address, prefixLength, linkLocal }) => ({
            family,
            address,
            netmask: String(prefixLength),
            scope: loopback ? 'local' : linkLocal ? 'link' : 'global',
          })),
          counters: {
            bytesReceived: count?.bytesReceived ?? 0,
            bytesSent: count?.bytesSent ?? 0,
            packetsReceived: count?.packetsReceived ?? 0,
            packetsSent: count?.packetsSent ?? 0,
            errorsReceived: count?.errorsReceived ?? 0,
            errorsSent: count?.errorsSent ?? 0,
            packetsDroppedOutbound: count?.droppedSent ?? 0,
            packetsDroppedInbound: count?.droppedReceived ?? 0,
          },
          hwaddr: loopback ? '' : one.hwaddr,
          hostName: nics.find((nic) => nic.name === one.name)?.hostName ?? '',
          mtu: one.mtu,
          state: one.up ? 'up' : 'down',
          type: one.type,
        },
      ];
    }),
  );
}

/** The figures of the container whose init is `pid`. Throws when the container ends meanwhile. Disk usage is storage's. */
export const readState = (pid: number, cgroup: Cgroup, nics: InstanceNic[]): InstanceState => ({
  pid,
  processes: processes(cgroup),
  cpuUsageNs: cpuUsageNs(cgroup),
  memory: memory(cgroup),
  disk: {},
  network: network(pid, nics),
});
