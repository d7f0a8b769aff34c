/** `instance.delete`: goes forward only, and is right for whatever is left of the instance. */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import type { CommandContext, Host } from './host.ts';
import { killInstance, volumeName } from './instances.ts';
import { releaseNics } from './nics.ts';
import { runSteps } from './steps.ts';

/** Nothing of the instance is left on the host. The record goes last: until then a retry knows what to look for. */
export async function deleteInstance(
  host: Host,
  _context: CommandContext,
  { ref, pool, id }: CommandParams<'instance.delete'>,
): Promise<CommandResult<'instance.delete'>> {
  const record = host.journal.instances.find(ref);
  if (id !== undefined && record !== undefined && record.spec.id !== id) return {};
  const poolName = record?.pool ?? pool?.name;
  // Half a deletion helps nobody: it is not cancelled.
  const signal = new AbortController().signal;
  await runSteps({ log: host.log, signal }, [
    {
      name: 'stop',
      run: () => killInstance(host, ref),
    },
    {
      name: 'delete-volume',
      run: async () => {
        if (poolName === undefined) return;
        const storage = await host.pools.open(poolName, pool);
        await storage.unmountInstanceVolume(volumeName(ref));
        await storage.deleteInstanceVolume(volumeName(ref));
      },
    },
    {
      name: 'release-nics',
      run: async () => {
        if (record !== undefined) await releaseNics(host, record.spec);
      },
    },
    { name: 'remove-config', run: () => host.instances.remove(ref) },
    { name: 'record', run: async () => host.journal.instances.delete(ref) },
  ]);
  return {};
}
