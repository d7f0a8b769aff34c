/** `instance.receive`: all of an instance from another host, or nothing of it. */
import type { CommandParams } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { InstanceNic } from '../drivers/instance/driver.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { CommandContext, Host } from './host.ts';
import { refuseForeign } from './instance-create.ts';
import { applyRootSize, configureInstance, type InstanceOutcome, outcomeOf, refOf, volumeName } from './instances.ts';
import { ensureNetworks, releaseNics, reserveNics } from './nics.ts';
import { runSteps } from './steps.ts';

/** The volume is whole: after a crash the rest can be done without the other host. */
const MARK_WHOLE = 'whole';

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
      name: 'receive-volume',
      run: async () => {
        if (context.marks.has(MARK_WHOLE)) return;
        if (context.resumed) throw failed('The agent was restarted while it received the instance');
        await context.unslotted(() => receiveVolume(host, context, storage, params));
        context.marks.add(MARK_WHOLE);
      },
      undo: () => storage.deleteInstanceVolume(volume),
    },
    {
      name: 'reserve-nics',
      run: async () => {
        await ensureNetworks(host, params.networks);
        nics = await reserveNics(host, spec);
      },
      undo: () => releaseNics(host, spec),
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

async function receiveVolume(
  host: Host,
  { signal }: CommandContext,
  storage: StorageDriver,
  { spec, streamId }: CommandParams<'instance.receive'>,
): Promise<void> {
  const relay = host.openRelay(streamId);
  try {
    await storage.transfer.receive(volumeName(spec), await relay.receive(signal));
  } catch (error) {
    throw await relay.giveUp(signal.aborted ? signal.reason : error);
  }
}
