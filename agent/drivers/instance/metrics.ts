/**
 * One sweep over the running instances for metrics: files of control groups and of `/proc` alone, no program. Between two
 * instances the event loop goes on, so that a host with hundreds of them answers its link meanwhile.
 */
import { readlinkSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { InstanceMetrics } from '#protocol/metrics.ts';
import type { Log } from '../../log.ts';
import { type Cgroup, readCgroupFile, readCgroupNumber } from '../../system/cgroup.ts';
import { listMounts, type Mount } from '../../system/mounts.ts';
import { parseNetDev } from '../../system/netns.ts';
import { readProc } from '../../system/proc.ts';
import { parseIoStat, parseKeyed, parseOldIo, parseUsageAll } from './cgroup-files.ts';
import type { InstanceSetup } from './driver.ts';
import { parseCpuSet } from './limits.ts';
import { processes } from './state.ts';

export interface RunningInstance {
  setup: InstanceSetup;
  init: number;
  cgroup: Cgroup;
}

export interface SweepDeps {
  log: Log;
  memoryTotalBytes: number;
  /** What the kernel calls a block device: `8:0` → `sda`. */
  deviceName?: (number: string) => string;
}

/** What runs, in the order given. One that stops meanwhile is left out. */
export async function sweepMetrics(
  deps: SweepDeps,
  names: readonly string[],
  find: (name: string) => RunningInstance | null,
): Promise<InstanceMetrics[]> {
  const mounts = new Map((await listMounts()).map((mount) => [mount.path, mount]));
  const found: InstanceMetrics[] = [];
  for (const name of names) {
    await setImmediate();
    try {
      const running = find(name);
      if (running !== null) found.push(await readMetrics(deps, running, mounts));
    } catch (err) {
      deps.log.debug('metrics.instance.failed', { instance: name, err });
    }
  }
  return found;
}

async function readMetrics(
  { memoryTotalBytes, deviceName = kernelName }: SweepDeps,
  { setup, init, cgroup }: RunningInstance,
  mounts: ReadonlyMap<string, Mount>,
): Promise<InstanceMetrics> {
  const { project, name } = setup.spec;
  return {
    project,
    name,
    cpu: readCpu(cgroup),
    cpus: readCpuCount(cgroup),
    memory: readMemory(cgroup, memoryTotalBytes),
    disks: readDisks(cgroup, deviceName),
    filesystems: await readFileSystems(setup, mounts),
    networks: readNetworks(init),
    processes: processes(cgroup),
  };
}

function readCpu(cgroup: Cgroup): InstanceMetrics['cpu'] {
  const v1 = cgroup.find('cpuacct');
  if (v1?.version === 1) return parseUsageAll(readCgroupFile(v1.directory, 'cpuacct.usage_all') ?? '');
  for (const directory of cgroup.directories) {
    const stat = parseKeyed(readCgroupFile(directory, 'cpu.stat') ?? '');
    const [user, system] = [stat.get('user_usec'), stat.get('system_usec')];
    if (user !== undefined && system !== undefined) return [[0, user / 1e6, system / 1e6]];
  }
  return [];
}

function readCpuCount(cgroup: Cgroup): number {
  const group = cgroup.find('cpuset');
  if (group === null) return 0;
  const file = group.version === 1 ? 'cpuset.effective_cpus' : 'cpuset.cpus.effective';
  return parseCpuSet(readCgroupFile(group.directory, file) ?? '')?.length ?? 0;
}

/** v1 names what is counted with the groups below `total_…`, v2 counts so always. */
function readMemory(cgroup: Cgroup, hostBytes: number): InstanceMetrics['memory'] {
  const group = cgroup.find('memory');
  const stat = parseKeyed(group === null ? '' : (readCgroupFile(group.directory, 'memory.stat') ?? ''));
  const isOld = group?.version === 1;
  const of = (old: string, now: string) => stat.get(isOld ? `total_${old}` : now) ?? 0;
  const number = (file: string) => (group === null ? 0 : readCgroupNumber(group.directory, file));
  const limit = isOld ? (stat.get('hierarchical_memory_limit') ?? 0) : number('memory.max');
  const kills = group === null ? null : readCgroupFile(group.directory, isOld ? 'memory.oom_control' : 'memory.events');
  return {
    activeAnon: of('active_anon', 'active_anon'),
    activeFile: of('active_file', 'active_file'),
    cached: of('cache', 'file'),
    dirty: of('dirty', 'file_dirty'),
    inactiveAnon: of('inactive_anon', 'inactive_anon'),
    inactiveFile: of('inactive_file', 'inactive_file'),
    mapped: of('mapped_file', 'file_mapped'),
    oomKills: parseKeyed(kills ?? '').get('oom_kill') ?? 0,
    rss: of('rss', 'anon'),
    shmem: of('shmem', 'shmem'),
    swap: isOld ? of('swap', '') : number('memory.swap.current'),
    total: limit > 0 ? Math.min(limit, hostBytes) : hostBytes,
    unevictable: of('unevictable', 'unevictable'),
    usage: number(isOld ? 'memory.usage_in_bytes' : 'memory.current'),
    writeback: of('writeback', 'file_writeback'),
  };
}

function readDisks(cgroup: Cgroup, deviceName: (number: string) => string): InstanceMetrics['disks'] {
  const group = cgroup.find('blkio') ?? cgroup.find('io');
  if (group === null) return [];
  const read = (file: string) => readCgroupFile(group.directory, file) ?? '';
  const counted =
    group.version === 1
      ? parseOldIo(read('blkio.throttle.io_service_bytes_recursive'), read('blkio.throttle.io_serviced_recursive'))
      : parseIoStat(read('io.stat'));
  return counted.map(([number, ...counts]) => [deviceName(number), ...counts]);
}

const kernelName = (number: string): string => {
  try {
    return basename(readlinkSync(join('/sys/dev/block', number)));
  } catch {
    return number;
  }
};

/** Of the root disk, and of disks that are directories of the host. One that cannot be asked is left out. */
async function readFileSystems(
  setup: InstanceSetup,
  mounts: ReadonlyMap<string, Mount>,
): Promise<InstanceMetrics['filesystems']> {
  const disks = Object.values(setup.spec.expandedDevices).flatMap((device): [string, string][] => {
    if (device.type !== 'disk' || device.path === undefined) return [];
    if (device.path === '/') return [['/', setup.volumePath]];
    return device.source?.startsWith('/') ? [[device.path, device.source]] : [];
  });
  const found = await Promise.all(
    disks.map(async ([path, directory]): Promise<InstanceMetrics['filesystems']> => {
      const usage = await statfs(directory).catch(() => null);
      if (usage === null) return [];
      const mount = mountOf(directory, mounts);
      const bytes = [usage.bavail, usage.bfree, usage.blocks].map((blocks) => blocks * usage.bsize);
      const [available = 0, free = 0, size = 0] = bytes;
      return [[mount?.source ?? '', mount?.type ?? '', path, available, free, size]];
    }),
  );
  return found.flat();
}

/** What is mounted there, or on the nearest directory above. */
function mountOf(directory: string, mounts: ReadonlyMap<string, Mount>): Mount | undefined {
  for (let path = directory; ; path = dirname(path)) {
    const mount = mounts.get(path);
    if (mount !== undefined || path === dirname(path)) return mount;
  }
}

const readNetworks = (init: number): InstanceMetrics['networks'] =>
  [...parseNetDev(readProc(init, 'net/dev') ?? '')].map(([name, of]) => [
    name,
    ...([of.bytesReceived, of.packetsReceived, of.errorsReceived, of.droppedReceived] as const),
    ...([of.bytesSent, of.packetsSent, of.errorsSent, of.droppedSent] as const),
  ]);
