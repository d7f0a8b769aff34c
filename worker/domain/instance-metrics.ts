/** Samples of instances under LXD's names and labels (lxd-api 5.9). Pure. */
import type { InstanceMetrics } from '#protocol/metrics.ts';
import type { Labels, Metric, Sample } from './exposition.ts';

export interface SampledInstance {
  /** `container` or `virtual-machine`. */
  type: string;
  metrics: InstanceMetrics;
}

interface Definition {
  name: string;
  help: string;
  /** By default: `counter` for what ends in `_total`, else `gauge`. */
  type?: 'gauge';
  read(metrics: InstanceMetrics): Sample[];
}

const value = (read: (metrics: InstanceMetrics) => number) => (metrics: InstanceMetrics) => [
  { labels: {}, value: read(metrics) },
];

const memory = (name: string, help: string, read: (of: InstanceMetrics['memory']) => number): Definition => ({
  name: `lxd_memory_${name}_bytes`,
  help,
  read: value((metrics) => read(metrics.memory)),
});

const disk = (name: string, help: string, column: 1 | 2 | 3 | 4): Definition => ({
  name: `lxd_disk_${name}_total`,
  help,
  read: ({ disks }) => disks.map((row) => ({ labels: { device: row[0] }, value: row[column] })),
});

const fileSystem = (name: string, help: string, column: 3 | 4 | 5): Definition => ({
  name: `lxd_filesystem_${name}_bytes`,
  help,
  read: ({ filesystems }) =>
    filesystems.map((row) => ({
      labels: { device: row[0], fstype: row[1], mountpoint: row[2] },
      value: row[column],
    })),
});

const network = (name: string, help: string, column: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8): Definition => ({
  name: `lxd_network_${name}_total`,
  help,
  read: ({ networks }) => networks.map((row) => ({ labels: { device: row[0] }, value: row[column] })),
});

const freeBytes = ({ total, usage }: InstanceMetrics['memory']) => Math.max(0, total - usage);

const DEFINITIONS: readonly Definition[] = [
  {
    name: 'lxd_cpu_seconds_total',
    help: 'CPU time used, in seconds.',
    read: ({ cpu }) =>
      cpu.flatMap(([number, user, system]) => [
        { labels: { cpu: String(number), mode: 'system' }, value: system },
        { labels: { cpu: String(number), mode: 'user' }, value: user },
      ]),
  },
  {
    name: 'lxd_cpu_effective_total',
    help: 'CPUs that may be used.',
    type: 'gauge',
    read: value(({ cpus }) => cpus),
  },
  disk('read_bytes', 'Bytes read.', 1),
  disk('reads_completed', 'Reads completed.', 2),
  disk('written_bytes', 'Bytes written.', 3),
  disk('writes_completed', 'Writes completed.', 4),
  fileSystem('avail', 'Bytes of the file system that users may still take.', 3),
  fileSystem('free', 'Free bytes of the file system.', 4),
  fileSystem('size', 'Size of the file system in bytes.', 5),
  memory('Active_anon', 'Anonymous memory on the active list.', ({ activeAnon }) => activeAnon),
  memory('Active_file', 'Memory of files on the active list.', ({ activeFile }) => activeFile),
  memory('Active', 'Memory on the active lists.', ({ activeAnon, activeFile }) => activeAnon + activeFile),
  memory('Cached', 'Cached memory.', ({ cached }) => cached),
  memory('Dirty', 'Memory that waits to be written to disk.', ({ dirty }) => dirty),
  // Containers have no huge pages of their own; LXD says so, too.
  memory('HugepagesFree', 'Free huge pages.', () => 0),
  memory('HugepagesTotal', 'Huge pages.', () => 0),
  memory('Inactive_anon', 'Anonymous memory on the inactive list.', ({ inactiveAnon }) => inactiveAnon),
  memory('Inactive_file', 'Memory of files on the inactive list.', ({ inactiveFile }) => inactiveFile),
  memory('Inactive', 'Memory on the inactive lists.', ({ inactiveAnon, inactiveFile }) => inactiveAnon + inactiveFile),
  memory('Mapped', 'Mapped memory.', ({ mapped }) => mapped),
  memory('MemAvailable', 'Memory that can still be had, the cache included.', (of) =>
    Math.min(of.total, freeBytes(of) + of.cached),
  ),
  memory('MemFree', 'Memory that is not used.', freeBytes),
  memory('MemTotal', 'Memory that may be used.', ({ total }) => total),
  memory('RSS', 'Anonymous memory and swap cache.', ({ rss }) => rss),
  memory('Shmem', 'Shared memory.', ({ shmem }) => shmem),
  memory('Swap', 'Swap used.', ({ swap }) => swap),
  memory('Unevictable', 'Memory that cannot be taken away.', ({ unevictable }) => unevictable),
  memory('Writeback', 'Memory that is being written to disk.', ({ writeback }) => writeback),
  {
    name: 'lxd_memory_OOM_kills_total',
    help: 'Processes killed for want of memory.',
    read: value(({ memory: { oomKills } }) => oomKills),
  },
  network('receive_bytes', 'Bytes received.', 1),
  network('receive_drop', 'Packets dropped on receipt.', 4),
  network('receive_errs', 'Errors on receipt.', 3),
  network('receive_packets', 'Packets received.', 2),
  network('transmit_bytes', 'Bytes sent.', 5),
  network('transmit_drop', 'Packets dropped on sending.', 8),
  network('transmit_errs', 'Errors on sending.', 7),
  network('transmit_packets', 'Packets sent.', 6),
  {
    name: 'lxd_procs_total',
    help: 'Processes that run.',
    type: 'gauge',
    read: value(({ processes }) => processes),
  },
];

/** Every metric of LXD's for these instances. */
export function instanceMetrics(instances: readonly SampledInstance[]): Metric[] {
  return DEFINITIONS.map(({ name, help, type, read }) => ({
    name,
    help,
    type: type ?? (name.endsWith('_total') ? 'counter' : 'gauge'),
    samples: instances.flatMap((instance) => {
      const own: Labels = { name: instance.metrics.name, project: instance.metrics.project, type: instance.type };
      return read(instance.metrics).map((sample) => ({ ...sample, labels: { ...sample.labels, ...own } }));
    }),
  }));
}
