/** What `lxc cluster info` shows of a member's host: as it last told, also while it is away (LXD's `cluster_member_state`). */
import { getMember } from '#worker/state/members.ts';
import type { Authorized } from './context.ts';

/** LXD's object. Throws `Cluster member not found`. Nobody is asked: figures that have not come yet are 0. */
export async function describeMemberState(ctx: Authorized, name: string) {
  const [row, told] = await Promise.all([getMember(ctx.db, name), ctx.objects.links.state(name)]);
  const state = told?.state;
  // It has gone on running since it told; of one that is away nobody knows.
  const ageSeconds = told === null || !row.online ? 0 : Math.max(0, (Date.parse(ctx.now()) - told.toldMs) / 1000);
  return {
    sysinfo: {
      uptime: state === undefined ? 0 : Math.floor(state.uptimeSeconds + ageSeconds),
      load_averages: state?.loadAverages ?? [0, 0, 0],
      total_ram: state?.memory.totalBytes ?? row.resources.memoryTotalBytes,
      free_ram: state?.memory.freeBytes ?? 0,
      shared_ram: state?.memory.sharedBytes ?? 0,
      buffered_ram: state?.memory.bufferedBytes ?? 0,
      total_swap: state?.memory.swapTotalBytes ?? 0,
      free_swap: state?.memory.swapFreeBytes ?? 0,
      processes: state?.processes ?? 0,
      logical_cpus: row.resources.cpuCount,
    },
    storage_pools: Object.fromEntries(
      Object.entries(state?.pools ?? {}).map(([pool, { space, inodes }]) => [
        pool,
        { space: { used: space.usedBytes, total: space.totalBytes }, inodes },
      ]),
    ),
  };
}
