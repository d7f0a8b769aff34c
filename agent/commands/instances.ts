/** What several instance commands need: lookups, set-up for a start, outcomes. */
import type { CommandResult, InstanceRef, InstanceSpec } from '#protocol/commands.ts';
import { AppError, failed, notFound } from '#protocol/errors.ts';
import type { InstanceStatus } from '#protocol/inventory.ts';
import { hostName } from '#protocol/names.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { InstanceNic, InstanceSetup } from '../drivers/instance/driver.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { InstanceRecord } from '../journal/journal.ts';
import type { Host } from './host.ts';
import { planNics, reserveNics } from './nics.ts';
import { mountVolumes } from './volume-disks.ts';

export type InstanceOutcome = CommandResult<'instance.create'>;

/** The instance's name on this host: of its volume, its config, its leases. */
export const volumeName = (ref: InstanceRef) => hostName(ref.project, ref.name);

export const refOf = ({ project, name }: InstanceRef): InstanceRef => ({ project, name });

/** Throws `not_found` with LXD's text. */
export function getRecord(host: Host, ref: InstanceRef): InstanceRecord {
  const record = host.journal.instances.find(ref);
  if (record === undefined) throw notFound('Instance');
  return record;
}

/** Stopped when the driver has never heard of it. */
export async function statusOf(host: Host, ref: InstanceRef): Promise<InstanceStatus> {
  try {
    return await host.instances.status(ref);
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return 'Stopped';
    throw error;
  }
}

/** The root disk's device name and keys. Throws when there is none: control planes never send that. */
export function rootDisk(spec: InstanceSpec): { pool: string; sizeBytes: number | null } {
  const root = Object.values(spec.expandedDevices).find((device) => device.type === 'disk' && device.path === '/');
  if (root?.pool === undefined) throw failed('No root device could be found');
  return { pool: root.pool, sizeBytes: root.size === undefined ? null : parseSizeBytes(root.size) };
}

/** Limits the root volume to the disk's `size`; drivers that cannot limit are left alone, as in LXD. */
export async function applyRootSize(host: Host, storage: StorageDriver, spec: InstanceSpec): Promise<void> {
  const { sizeBytes } = rootDisk(spec);
  const { quota } = await storage.capabilities();
  if (quota) await storage.setQuota(volumeName(spec), sizeBytes);
  else if (sizeBytes !== null)
    host.log.warn('instance.size.ignored', { instance: volumeName(spec), pool: storage.pool.name });
}

/** Makes the instance ready for a start: volume mounted, NICs reserved, config written with the newest spec. */
export async function configureInstance(host: Host, spec: InstanceSpec, pool: string): Promise<InstanceSetup> {
  const setup = await prepareSetup(host, spec, pool);
  await host.instances.configure(setup);
  return setup;
}

/** Gives the running instance the config and devices of the spec. */
export async function reconfigureInstance(host: Host, spec: InstanceSpec, pool: string): Promise<void> {
  await host.instances.reconfigure(await prepareSetup(host, spec, pool));
}

async function prepareSetup(host: Host, spec: InstanceSpec, pool: string): Promise<InstanceSetup> {
  const storage = await host.pools.open(pool);
  const [volumePath, { idmap }, nics] = await Promise.all([
    storage.mountInstanceVolume(volumeName(spec)),
    storage.capabilities(),
    reserveNics(host, spec),
  ]);
  return { spec: await mountVolumes(host, spec, idmap), volumePath, idmap, nics };
}

/** Kills it if it runs; right also for one that has never been configured. */
export async function killInstance(host: Host, ref: InstanceRef): Promise<void> {
  if ((await statusOf(host, ref)) !== 'Stopped') await host.instances.stop(ref, { force: true, timeoutMs: null });
}

/** Report and volatile keys as they are now; what a command on an instance answers. */
export async function outcomeOf(
  host: Host,
  spec: InstanceSpec,
  nics?: readonly InstanceNic[],
): Promise<InstanceOutcome> {
  const report = await host.instances.report(refOf(spec));
  const running = report.status === 'Running' || report.status === 'Frozen';
  const volatile: Record<string, string> = { 'volatile.last_state.power': running ? 'RUNNING' : 'STOPPED' };
  const known = nics ?? planNics(spec, () => true);
  for (const nic of known) {
    const device = spec.expandedDevices[nic.device];
    volatile[`volatile.${nic.device}.host_name`] = running ? nic.hostName : '';
    if (device?.hwaddr === undefined) volatile[`volatile.${nic.device}.hwaddr`] = nic.hwaddr;
    if (device?.name === undefined) volatile[`volatile.${nic.device}.name`] = nic.name;
  }
  return { report, volatile };
}

/** Remembers what the instance should be after a boot. */
export function recordPower(host: Host, ref: InstanceRef, power: InstanceRecord['power']): void {
  const record = host.journal.instances.find(ref);
  if (record !== undefined && record.power !== power) host.journal.instances.put({ ...record, power });
}
