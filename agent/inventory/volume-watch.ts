/**
 * Which stopped instances have lost their volume. Nothing tells of it (a running one holds its own), so the pools are asked,
 * each for all its volumes at once.
 */
import type { InstanceRef } from '#protocol/commands.ts';
import type { Host } from '../commands/host.ts';
import { refOf, volumeName } from '../commands/instances.ts';
import { instanceKey } from '../journal/journal.ts';

export interface VolumeWatch {
  /** Looks at the volumes of all instances that are stopped; answers those whose finding has changed. */
  look(stopped: readonly InstanceRef[]): Promise<InstanceRef[]>;
  /** What is wrong, as people read it; null: nothing. */
  problemOf(ref: InstanceRef): string | null;
}

interface Problem {
  ref: InstanceRef;
  text: string;
}

/** While a command works on an instance its volume may come and go: nothing is missed then. */
export function createVolumeWatch(deps: { host: Host; isBusy(ref: InstanceRef): boolean }): VolumeWatch {
  const { host, isBusy } = deps;
  let problems = new Map<string, Problem>();

  const findProblems = async (pool: string, refs: readonly InstanceRef[]): Promise<Problem[]> => {
    const present = await listVolumes(host, pool);
    // A pool that does not answer says nothing of its volumes.
    if (present === null) return refs.flatMap((ref) => problems.get(instanceKey(ref)) ?? []);
    return refs.flatMap((ref) => {
      const volume = volumeName(ref);
      if (present.has(volume) || isBusy(ref) || host.journal.instances.find(ref) === undefined) return [];
      return [{ ref: refOf(ref), text: `Storage volume "${volume}" is missing in storage pool "${pool}"` }];
    });
  };

  return {
    problemOf: (ref) => problems.get(instanceKey(ref))?.text ?? null,
    look: async (stopped) => {
      const pools = byPool(host, stopped);
      const found = (await Promise.all(pools.map(([pool, refs]) => findProblems(pool, refs)))).flat();
      const before = problems;
      problems = new Map(found.map((problem) => [instanceKey(problem.ref), problem]));
      return [...before.values(), ...problems.values()]
        .map(({ ref }) => ref)
        .filter((ref) => before.get(instanceKey(ref))?.text !== problems.get(instanceKey(ref))?.text);
    },
  };
}

function byPool(host: Host, refs: readonly InstanceRef[]): [string, InstanceRef[]][] {
  const pools = new Map<string, InstanceRef[]>();
  for (const ref of refs) {
    const pool = host.journal.instances.find(ref)?.pool;
    if (pool !== undefined) pools.set(pool, [...(pools.get(pool) ?? []), ref]);
  }
  return [...pools];
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
