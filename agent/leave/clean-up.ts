/** Takes away what the agent made for its cluster. What was on the host before, and what holds something, stays. */
import { readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { failed } from '#protocol/errors.ts';
import type { Host } from '../commands/host.ts';
import type { Journal } from '../journal/journal.ts';
import { CLUSTER_FILE } from '../keep/files.ts';

/** Ends every command of the cluster that was, with or without a result: nobody there wants to hear of it. */
export function forgetWork(journal: Journal): void {
  const error = { code: 'cancelled', message: 'The member was removed' } as const;
  for (const { id } of journal.listUnfinished()) journal.finish(id, { ok: false, error });
  for (const { id } of journal.listUnacknowledged()) journal.acknowledge(id);
}

/** One line for a person about each thing that could not go, or that was left because it is in use. */
export async function cleanUp(host: Host): Promise<string[]> {
  const { journal, log } = host;
  const instances = journal.instances.list().length;
  // The control plane knew of none; what is here all the same is not ours to lose.
  if (instances > 0) return [`${instances} instance(s) are still on this host: nothing was taken away`];
  const kept: string[] = [];
  const attempt = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
      log.info('leave.removed', { what });
    } catch (err) {
      log.warn('leave.kept', { what, err });
      kept.push(`${what} stays: ${err instanceof Error ? err.message : String(err)}`);
    }
  };
  for (const { name } of journal.networks.list()) {
    await attempt(`network "${name}"`, async () => {
      await host.networks.delete(name);
      journal.networks.delete(name);
    });
  }
  await attempt('names of instances', () => host.networks.withdrawNames());
  for (const pool of journal.pools.list()) {
    await attempt(`storage pool "${pool.name}"`, async () => {
      const driver = await host.pools.open(pool.name);
      if ((await driver.listInstanceVolumes()).length > 0) throw failed('it holds volumes of instances');
      await driver.deletePool();
      journal.pools.delete(pool.name);
      host.pools.forget(pool.name);
    });
  }
  return kept;
}

/** The agent's own files below its data directory, when nothing that they tell of is left. Directories in use stay. */
export function removeState(dataDir: string): void {
  for (const file of ['agent.db', 'agent.db-wal', 'agent.db-shm', 'epoch', CLUSTER_FILE])
    rmSync(join(dataDir, file), { force: true });
  rmSync(join(dataDir, 'images'), { recursive: true, force: true });
  for (const directory of ['containers', 'disks', 'networks', 'storage-pools', ''])
    removeIfEmpty(join(dataDir, directory));
}

function removeIfEmpty(directory: string): void {
  try {
    if (readdirSync(directory).length === 0) rmdirSync(directory);
  } catch {
    // Absent, or a mount point that somebody uses.
  }
}
