/** `instance.rename`: volume, config, leases and record move to the new name together. */
import type { CommandParams } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { CommandContext, Host } from './host.ts';
import { getRecord, type InstanceOutcome, outcomeOf, refOf, statusOf, volumeName } from './instances.ts';
import { runSteps } from './steps.ts';
import { applyTemplates } from './templates.ts';

/** Renames a stopped instance; when a part cannot be renamed, all have the old name again. */
export async function renameInstance(
  host: Host,
  context: CommandContext,
  { spec, newName }: CommandParams<'instance.rename'>,
): Promise<InstanceOutcome> {
  const oldRef = refOf(spec);
  const renamed = { ...spec, name: newName };
  const newRef = refOf(renamed);
  // A crash may have come between the new record and the result.
  const record = host.journal.instances.find(newRef) ?? getRecord(host, oldRef);
  if (record.spec.id !== spec.id) throw failed(`Instance "${newName}" already exists on this host`);
  if ((await statusOf(host, oldRef)) !== 'Stopped') throw failed('Renaming of running container not allowed');
  const storage = await host.pools.open(record.pool);
  const [from, to] = [volumeName(oldRef), volumeName(newRef)];
  const volumes = async () => new Set(await storage.listInstanceVolumes());
  const configured = async (name: string) =>
    (await host.instances.list()).some((ref) => ref.project === spec.project && ref.name === name);

  await runSteps({ log: host.log, signal: context.signal }, [
    {
      name: 'rename-volume',
      run: async () => {
        if ((await volumes()).has(from)) await storage.renameInstanceVolume(from, to);
      },
      undo: async () => {
        if ((await volumes()).has(to)) await storage.renameInstanceVolume(to, from);
      },
    },
    {
      name: 'rename-config',
      run: async () => {
        if (await configured(oldRef.name)) await host.instances.rename(oldRef, newName);
      },
      undo: async () => {
        if (await configured(newName)) await host.instances.rename(newRef, oldRef.name);
      },
    },
    {
      name: 'rename-nics',
      run: () => host.networks.renameInstance(from, to),
      undo: () => host.networks.renameInstance(to, from),
    },
    {
      name: 'record',
      run: async () => {
        host.journal.instances.put({ ...record, spec: renamed });
        host.journal.instances.delete(oldRef);
      },
      undo: async () => {
        host.journal.instances.put({ ...record, spec });
        host.journal.instances.delete(newRef);
      },
    },
    {
      name: 'apply-templates',
      run: async () => {
        const volumePath = await storage.mountInstanceVolume(to);
        await applyTemplates(host, renamed, volumePath, ['rename']);
        await storage.unmountInstanceVolume(to);
      },
    },
  ]);
  return outcomeOf(host, renamed);
}
