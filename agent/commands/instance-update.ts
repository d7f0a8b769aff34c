/** `instance.update`: new config and devices, live where the kernel can. */
import type { CommandParams, InstanceSpec } from '#protocol/commands.ts';
import { hostName } from '#protocol/names.ts';
import type { CommandContext, Host } from './host.ts';
import {
  applyRootSize,
  getRecord,
  type InstanceOutcome,
  outcomeOf,
  reconfigureInstance,
  refOf,
  statusOf,
} from './instances.ts';
import { ensureNetworks } from './nics.ts';
import { runSteps } from './steps.ts';
import { mountVolumes } from './volume-disks.ts';

/** Applies the spec; when the host refuses a limit or a device, everything is as it was and its reason is the error. */
export async function updateInstance(
  host: Host,
  context: CommandContext,
  { spec, networks }: CommandParams<'instance.update'>,
): Promise<InstanceOutcome> {
  const record = getRecord(host, spec);
  const before = record.spec;
  const ref = refOf(spec);
  const storage = await host.pools.open(record.pool);
  const running = (await statusOf(host, spec)) !== 'Stopped';
  const applyLimits = async (wanted: InstanceSpec) => {
    if (running) await host.instances.applyLimits(ref, wanted.expandedConfig);
  };
  // For a stopped instance, too: its next start would be refused.
  host.instances.checkDevices(await mountVolumes(host, spec, (await storage.capabilities()).idmap));
  await runSteps({ log: host.log, signal: context.signal }, [
    {
      name: 'record',
      run: async () => host.journal.instances.put({ ...record, spec }),
      undo: async () => host.journal.instances.put(record),
    },
    { name: 'apply-limits', run: () => applyLimits(spec), undo: () => applyLimits(before) },
    {
      name: 'set-size',
      run: () => applyRootSize(host, storage, spec),
      undo: () => applyRootSize(host, storage, before),
    },
    {
      name: 'configure',
      run: async () => {
        await ensureNetworks(host, networks);
        // A stopped instance is configured by its next start.
        if (running) await reconfigureInstance(host, spec, record.pool);
      },
      undo: async () => {
        if (running) await reconfigureInstance(host, before, record.pool);
      },
    },
    { name: 'release-nics', run: () => releaseRemoved(host, before, spec) },
  ]);
  const { report, volatile } = await outcomeOf(host, spec);
  return { report, volatile: { ...forgetRemoved(before, spec), ...volatile } };
}

const removedNics = (before: InstanceSpec, after: InstanceSpec): string[] =>
  Object.entries(before.expandedDevices).flatMap(([device, { type }]) =>
    type === 'nic' && after.expandedDevices[device]?.type !== 'nic' ? [device] : [],
  );

async function releaseRemoved(host: Host, before: InstanceSpec, after: InstanceSpec): Promise<void> {
  for (const device of removedNics(before, after)) {
    await host.networks.release(hostName(before.project, before.name), device);
  }
}

/** A NIC of the same name that comes later is another one. */
const forgetRemoved = (before: InstanceSpec, after: InstanceSpec): Record<string, string> =>
  Object.fromEntries(
    removedNics(before, after).flatMap((device) =>
      ['host_name', 'hwaddr', 'name'].map((key) => [`volatile.${device}.${key}`, '']),
    ),
  );
