/** Three Longshore hosts as `npm start` makes them, with what the LXD side has and no more: one btrfs pool, one image. */
import path from 'node:path';
import type { BuiltImage } from '#selfhost/images/cache.ts';
import {
  ensureBareHost,
  getHost,
  joinBareHost,
  type Playground,
  startPlayground,
  stopPlayground,
} from '#selfhost/playground/cluster.ts';
import type { Host } from '#selfhost/playground/host.ts';
import { silentReport } from '#selfhost/playground/progress.ts';
import { createBridge, createPool, fillDefaultProfile, importImage } from '#selfhost/playground/resources.ts';
import { findFreePort } from '#selfhost/port.ts';
import { stockClient } from './client.ts';
import type { Side } from './pairs.ts';

export interface LongshoreCluster {
  side: Side;
  /** Where the bare tools work, beside the agent: in its pool, on its bridge. */
  floorHost: Host;
  stop(): Promise<void>;
}

/** As for LXD's members. */
const POOL_SIZE = '4GiB';
const HOSTS = [1, 2, 3];

/** Starts and forms the cluster, imports `image` as `tiny`. What it made is gone after `stop`, or when it throws. */
export async function startLongshoreCluster(image: BuiltImage, signal: AbortSignal): Promise<LongshoreCluster> {
  const playground = await startPlayground({
    port: await findFreePort(),
    conf: (run) => path.join(run.dir, 'lxc-conf'),
    report: silentReport,
  });
  const stop = () => stopPlayground(playground);
  try {
    await form(playground, image);
    const side = stockClient('Longshore', playground.client.conf, signal);
    return { side, floorHost: getHost(playground, 1), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function form(playground: Playground, image: BuiltImage): Promise<void> {
  await Promise.all(HOSTS.map((number) => ensureBareHost(playground, number)));
  await Promise.all(HOSTS.map((number) => joinBareHost(playground, number)));
  await Promise.all([createPool(playground, 'default', 'btrfs', POOL_SIZE), createBridge(playground)]);
  await fillDefaultProfile(playground);
  await importImage(playground, image, 'tiny');
}
