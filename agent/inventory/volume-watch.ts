/**
 * Which stopped instances have lost their volume. Nothing tells of it (a running one holds its own), so the pools are asked,
 * each for all its volumes at once.
 */
import type { InstanceRef } from '#protocol/commands.ts';
import type { Host } from '../commands/host.ts';
import { statusOf, volumeName } from '../commands/instances.ts';
import { instanceKey } from '../journal/journal.ts';

export interface VolumeWatch {
  /** Looks at the volumes of those that are stopped; answers whose finding has changed. */
  look(refs: readonly InstanceRef[]): Promise<InstanceRef[]>;
  /** What is wrong, as people read it; null: nothing. */
  problemOf(ref: InstanceRef): string | null;
}

/** While a command works on an instance its volume may come and go. */
export function createVolumeWatch(deps: { host: Host; isBusy(ref: InstanceRef): boolean }): VolumeWatch {
  const { host, isBusy } = deps;
  const problems = new Map<string, string>();
  return {
    problemOf: (ref) => problems.get(instanceKey(ref)) ?? null,
    look: async (refs) => {
      const before = new Map(problems);
      const stopped = await stoppedByPool(host, refs, isBusy);
      for (const ref of refs) if (!stopped.some((entry) => entry.refs.includes(ref))) problems.delete(instanceKey(ref));
      for (const { pool, refs: due } of stopped) {
        const present = await listVolumes(host, pool);
        // A pool that does not answer says nothing of its volumes.
        if (present === null) continue;
        for (const ref of due) {
          const volume = volumeName(ref);
          const isLost = !present.has(volume) && !isBusy(ref) && host.journal.instances.find(ref) !== undefined;
          if (isLost) problems.set(instanceKey(ref), `Storage volume "${volume}" is missing in storage pool "${pool}"`);
          else problems.delete(instanceKey(ref));
        }
      }
      return refs.filter((ref) => before.get(instanceKey(ref)) !== problems.get(instanceKey(ref)));
    },
  };
}

async function stoppedByPool(host: Host, refs: readonly InstanceRef[], isBusy: (ref: InstanceRef) => boolean) {
  const pools = new Map<string, InstanceRef[]>();
  for (const ref of refs) {
    if (isBusy(ref)) continue;
    const record = host.journal.instances.find(ref);
    if (record === undefined || (await statusOf(host, ref)) !== 'Stopped') continue;
    pools.set(record.pool, [...(pools.get(record.pool) ?? []), ref]);
  }
  return [...pools].map(([pool, due]) => ({ pool, refs: due }));
}

const listVolumes = (host: Host, pool: string): Promise<Set<string> | null> =>
  host.pools
    .open(pool)
    .then((storage) => storage.listInstanceVolumes())
    .then(
      (names) => new Set(names),
      (err) => {
        host.log.debug('inventory.volumes.failed', { pool, err });
        return null;
      },
    );
