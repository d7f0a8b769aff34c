/** `volume.create`, `volume.update`, `volume.rename`, `volume.delete`: custom volumes. */
import type { CommandParams, CommandResult, VolumeRef, VolumeSpec } from '#protocol/commands.ts';
import { badRequest, conflict } from '#protocol/errors.ts';
import { hostVolumeName } from '#protocol/names.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { CommandContext, Host } from './host.ts';
import { runSteps } from './steps.ts';
import { usesVolume } from './volume-disks.ts';

const nameOf = (volume: VolumeRef) => hostVolumeName(volume.project, volume.name);

/** Drivers that cannot limit are left alone, as in LXD. */
async function applySize(host: Host, storage: StorageDriver, volume: VolumeSpec): Promise<void> {
  const { size } = volume.config;
  const sizeBytes = size === undefined ? null : parseSizeBytes(size);
  const { quota } = await storage.capabilities();
  if (quota) await storage.custom.setQuota(nameOf(volume), sizeBytes);
  else if (sizeBytes !== null) {
    host.log.warn('volume.size.ignored', { volume: nameOf(volume), pool: storage.pool.name });
  }
}

/** Mark of a creation that has found the name free, so that what it then made is its own after a crash. */
const FREE = 'free';

/** Makes the volume, or nothing of it. Throws `conflict` for one that is there and that nobody has told of. */
export async function createVolume(
  host: Host,
  context: CommandContext,
  { pool, volume }: CommandParams<'volume.create'>,
): Promise<CommandResult<'volume.create'>> {
  const storage = await host.pools.open(pool.name, pool);
  const name = nameOf(volume);
  if (!context.marks.has(FREE)) {
    if ((await storage.custom.list()).includes(name)) throw conflict('Volume by that name already exists');
    context.marks.add(FREE);
  }
  await runSteps({ log: host.log, signal: context.signal }, [
    { name: 'make-volume', run: () => storage.custom.create(name), undo: () => storage.custom.delete(name) },
    { name: 'set-size', run: () => applySize(host, storage, volume) },
  ]);
  return {};
}

/** Applies the new size; a refused one leaves the old. */
export async function updateVolume(
  host: Host,
  context: CommandContext,
  { pool, volume, before }: CommandParams<'volume.update'>,
): Promise<CommandResult<'volume.update'>> {
  const storage = await host.pools.open(pool.name, pool);
  await runSteps({ log: host.log, signal: context.signal }, [
    {
      name: 'set-size',
      run: () => applySize(host, storage, volume),
      undo: () => applySize(host, storage, before),
    },
  ]);
  return {};
}

/** Renames it; right also when that has been done. */
export async function renameVolume(
  host: Host,
  _context: CommandContext,
  { pool, volume, newName }: CommandParams<'volume.rename'>,
): Promise<CommandResult<'volume.rename'>> {
  refuseUsed(host, pool.name, volume);
  const storage = await host.pools.open(pool.name, pool);
  await storage.custom.rename(nameOf(volume), nameOf({ ...volume, name: newName }));
  return {};
}

/** Removes it, unless an instance of this host has it, whatever the control plane believes. */
export async function deleteVolume(
  host: Host,
  _context: CommandContext,
  { pool, volume }: CommandParams<'volume.delete'>,
): Promise<CommandResult<'volume.delete'>> {
  refuseUsed(host, pool.name, volume);
  const storage = await host.pools.open(pool.name, pool);
  await storage.custom.delete(nameOf(volume));
  return {};
}

function refuseUsed(host: Host, pool: string, volume: VolumeRef): void {
  if (host.journal.instances.list().some(({ spec }) => usesVolume(spec, pool, volume))) {
    throw badRequest('The storage volume is still in use');
  }
}
