/** Metrics of an instance with nothing surprising in them. */
import type { InstanceMetrics } from '#protocol/metrics.ts';

export const figuresOf = (name: string, fields: Partial<InstanceMetrics> = {}): InstanceMetrics => ({
  project: 'default',
  name,
  cpu: [[0, 1.5, 0.5]],
  cpus: 2,
  memory: {
    activeAnon: 1,
    activeFile: 2,
    cached: 300,
    dirty: 4,
    inactiveAnon: 5,
    inactiveFile: 6,
    mapped: 7,
    oomKills: 8,
    rss: 9,
    shmem: 10,
    swap: 11,
    total: 1000,
    unevictable: 12,
    usage: 400,
    writeback: 13,
  },
  disks: [['vda', 1, 2, 3, 4]],
  filesystems: [['tank/c1', 'zfs', '/', 10, 20, 30]],
  networks: [['eth0', 1, 2, 3, 4, 5, 6, 7, 8]],
  processes: 5,
  ...fields,
});
