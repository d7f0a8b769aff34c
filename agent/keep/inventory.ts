/** All that this host has, for a control plane that has lost its database: the copies, and what the journal was told. */
import type { FoundInstance, HostInventory, InstanceBackup } from '#protocol/backup.ts';
import type { InstanceSpec } from '#protocol/commands.ts';
import type { Host } from '../commands/host.ts';
import { refOf } from '../commands/instances.ts';
import { type InstanceRecord, instanceKey } from '../journal/journal.ts';
import type { KeptFiles } from './files.ts';
import type { Keeper } from './keeper.ts';

export interface InventoryDeps {
  host: Pick<Host, 'journal' | 'instances'>;
  files: KeptFiles;
  isOutdated: Keeper['isOutdated'];
}

/** What is still being made is not listed: its command ends by itself, with or without it. */
export async function readInventory({ host, files, isOutdated }: InventoryDeps): Promise<HostInventory> {
  const { journal } = host;
  const kept = files.findCluster();
  const unfinished = new Set(
    journal.listUnfinished().flatMap((command) => {
      const makes = command.name === 'instance.create' || command.name === 'instance.receive';
      return makes ? [command.params.spec.id] : [];
    }),
  );
  const confirmed = new Set(kept?.instances ?? []);
  const find = async (record: InstanceRecord): Promise<FoundInstance> => {
    const { spec } = record;
    const ref = refOf(spec);
    const copy = files.findInstance(ref);
    // One of an earlier instance of that name tells nothing of this one.
    const own = copy?.instance.id === spec.id ? copy : null;
    const takenAt = own === null ? '' : confirmed.has(spec.id) ? (kept?.takenAt ?? own.takenAt) : own.takenAt;
    // Renamed since: the copy went along with its directory.
    const isOld = isOutdated(instanceKey(ref)) || own?.instance.name !== spec.name;
    const report = await host.instances.report(ref).catch(() => ({ status: 'Stopped' as const, state: null }));
    return {
      instance: own === null || isOld ? told(record, own?.instance) : own.instance,
      takenAt,
      expandedConfig: spec.expandedConfig,
      expandedDevices: spec.expandedDevices,
      status: report.status,
      state: report.state,
    };
  };
  return {
    takenAt: kept?.takenAt ?? '',
    cluster: kept?.cluster ?? null,
    instances: await Promise.all(
      journal.instances
        .list()
        .filter(({ spec }) => !unfinished.has(spec.id))
        .map(find),
    ),
    pools: journal.pools.list(),
    networks: journal.networks.list(),
  };
}

/** As the host was last told; keys that it decided itself since are in the copy, if there is one. */
function told({ spec, pool }: InstanceRecord, copy?: InstanceBackup): InstanceBackup {
  const { expandedConfig: _config, expandedDevices: _devices, ...own } = spec satisfies InstanceSpec;
  const volatile = Object.entries(copy?.config ?? {}).filter(([key]) => key.startsWith('volatile.'));
  return {
    ...own,
    stateful: copy?.stateful ?? false,
    lastUsedAt: copy?.lastUsedAt ?? null,
    pool,
    config: { ...own.config, ...Object.fromEntries(volatile) },
  };
}
