/** `instance.create`: all of an instance, or nothing of it. */
import type { CommandParams } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import type { InstanceNic } from '../drivers/instance/driver.ts';
import type { CommandContext, Host } from './host.ts';
import { ensureImage } from './image.ts';
import { isCopy, makeVolume } from './instance-volume.ts';
import {
  applyRootSize,
  configureInstance,
  type InstanceOutcome,
  killInstance,
  outcomeOf,
  refOf,
  volumeName,
} from './instances.ts';
import { ensureNetworks, releaseNics, reserveNics } from './nics.ts';
import { runSteps } from './steps.ts';
import { applyTemplates } from './templates.ts';

/** Makes the instance from its image (or empty) and starts it when asked; undoes everything when a step fails. */
export async function createInstance(
  host: Host,
  context: CommandContext,
  params: CommandParams<'instance.create'>,
): Promise<InstanceOutcome> {
  const { spec, image, pool } = params;
  const ref = refOf(spec);
  const volume = volumeName(spec);
  const storage = await host.pools.open(pool.name, pool);
  await refuseForeign(host, params);
  let volumePath = '';
  let nics: InstanceNic[] = [];

  await runSteps({ log: host.log, signal: context.signal }, [
    {
      // First of all: a volume without a record would be nobody's.
      name: 'record',
      run: async () =>
        host.journal.instances.put({ spec, pool: pool.name, power: params.start ? 'RUNNING' : 'STOPPED' }),
      undo: async () => host.journal.instances.delete(ref),
    },
    {
      name: 'ensure-image',
      run: async () => {
        if (image !== null) await ensureImage(host, context, storage, image);
      },
    },
    {
      name: 'clone-volume',
      run: async () => {
        volumePath = await makeVolume(host, context, storage, params);
        await applyRootSize(host, storage, spec);
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
      },
      undo: () => host.instances.remove(ref),
    },
    {
      name: 'apply-templates',
      run: async () => {
        const running = (await host.instances.status(ref)) !== 'Stopped';
        const made = isCopy(params) ? 'copy' : 'create';
        if (!running) await applyTemplates(host, spec, volumePath, params.start ? [made, 'start'] : [made]);
      },
    },
    {
      name: 'start',
      run: async () => {
        if (!params.start) return;
        if ((await host.instances.status(ref)) === 'Stopped') await host.instances.start(ref);
        await host.networks.announce(volume, true);
      },
      undo: () => killInstance(host, ref),
    },
  ]);
  return outcomeOf(host, spec, nics);
}

/** What has this name on the host but is not this instance is never adopted and never undone. */
export async function refuseForeign(
  host: Host,
  { spec, pool }: Pick<CommandParams<'instance.create'>, 'spec' | 'pool'>,
): Promise<void> {
  const record = host.journal.instances.find(spec);
  if (record?.spec.id === spec.id) return;
  const storage = await host.pools.open(pool.name, pool);
  if (record === undefined && !(await storage.listInstanceVolumes()).includes(volumeName(spec))) return;
  throw failed(`Instance "${spec.name}" already exists on this host`);
}
