/**
 * What an agent samples of the running instances of its host, for `GET /1.0/metrics`. Told only while somebody asks for it,
 * so that a cluster that nobody watches pays nothing; never written down anywhere.
 */
import { z } from 'zod';

/** A sweep every 15 s: Prometheus seldom looks more often, and a sample of 200 instances stays some 100 kB. */
export const METRICS_INTERVAL_MS = 15_000;
/** For this long an agent goes on sampling after it was asked. */
export const METRICS_WANTED_SECONDS = 300;

const Name = z.string().max(256);
const Count = z.number().nonnegative();

/** Counters since the instance's start. The tuples are what there is many of. */
export const InstanceMetrics = z.object({
  project: Name,
  name: Name,
  /** Number of the CPU (v2 knows only all together: 0), seconds in user mode, seconds in the kernel. */
  cpu: z.array(z.tuple([z.number().int().nonnegative(), Count, Count])),
  /** CPUs it may use. */
  cpus: Count,
  /** Bytes, but for `oomKills`. */
  memory: z.object({
    activeAnon: Count,
    activeFile: Count,
    cached: Count,
    dirty: Count,
    inactiveAnon: Count,
    inactiveFile: Count,
    mapped: Count,
    oomKills: Count,
    rss: Count,
    shmem: Count,
    swap: Count,
    /** The limit in force. */
    total: Count,
    unevictable: Count,
    usage: Count,
    writeback: Count,
  }),
  /** Block device, bytes read, reads, bytes written, writes. */
  disks: z.array(z.tuple([Name, Count, Count, Count, Count])),
  /** Device, type, where it is inside, bytes for users, bytes free, bytes in all. */
  filesystems: z.array(z.tuple([Name, Name, z.string().max(4096), Count, Count, Count])),
  /** Interface; bytes, packets, errors and drops received; the same sent. */
  networks: z.array(z.tuple([Name, Count, Count, Count, Count, Count, Count, Count, Count])),
  processes: Count,
});
export type InstanceMetrics = z.infer<typeof InstanceMetrics>;
