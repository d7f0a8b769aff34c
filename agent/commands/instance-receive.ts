/** `instance.receive`: all of an instance from another host, or nothing of it. */
import type { CommandParams } from '#protocol/commands.ts';
import type { InstanceNic } from '../drivers/instance/driver.ts';
import type { CommandContext, Host } from './host.ts';
import { refuseForeign } from './instance-create.ts';
import { receiveVolume } from './instance-volume.ts';
import { applyRootSize, configureInstance, type InstanceOutcome, outcomeOf, refOf, volumeName } from './instances.ts';
import { ensureNetworks, releaseNics, reserveNics } from './nics.ts';
import { runSteps } from './steps.ts';

/**
 * Makes the instance, stopped, out of what the other host sends. Undone when a step fails, and after a crash before the
 * volume was whole: the stream has ended with the agent.
 */
export async function receiveInstance(
  host: Host,
  context: CommandContext,
  params: CommandParams<'instance.receive'>,
): Promise<InstanceOutcome> {
  const { spec, pool } = params;
  const ref = refOf(spec);
  const volume = volumeName(spec);
  const storage = await host.pools.open(pool.name, pool);
  await refuseForeign(host, params);
  let nics: InstanceNic[] = [];

  await runSteps({ log: host.log, signal: context.signal }, [
    {
      name: 'record',
      run: async () => host.journal.instances.put({ spec, pool: pool.name, power: 'STOPPED' }),
      undo: async () => host.journal.instances.delete(ref),
    },
    {
      // Before the other side stops it for a move that cannot be.
      name: 'reserve-nics',
      run: async () => {
        await ensureNetworks(host, params.networks);
        nics = await reserveNics(host, spec);
      },
      undo: () => releaseNics(host, spec),
    },
    {
      name: 'receive-volume',
      run: async () => {
        await receiveVolume(host, context, storage, params);
      },
      undo: () => storage.deleteInstanceVolume(volume),
    },
    {
      name: 'write-config',
      run: async () => {
        nics = (await configureInstance(host, spec, pool.name)).nics;
        await applyRootSize(host, storage, spec);
        await storage.unmountInstanceVolume(volume);
      },
      undo: () => host.instances.remove(ref),
    },
  ]);
  return outcomeOf(host, spec, nics);
}
