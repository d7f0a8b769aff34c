/** Custom volumes as disks of instances: an instance can have only those of its project on its own member. */
import { badRequest } from '#protocol/errors.ts';
import type { Devices } from '#worker/domain/config.ts';
import { volumeDisks } from '#worker/domain/instance-devices.ts';
import { listVolumesOf } from '#worker/state/volumes.ts';
import type { Context } from './context.ts';
import { volumeProject } from './project-volumes.ts';

/** Each such disk with the members that have its volume. One read, none without such disks. */
async function readPlaces(ctx: Context, project: string, devices: Devices) {
  const disks = volumeDisks(devices);
  if (disks.length === 0) return [];
  const owner = await volumeProject(ctx, project);
  const rows = await listVolumesOf(ctx.db, owner, [...new Set(disks.map(({ volume }) => volume))]);
  return disks.map((disk) => ({
    device: disk.device,
    members: rows
      .filter((row) => row.status === 'Created' && row.pool === disk.pool && row.name === disk.volume)
      .map((row) => row.member),
  }));
}

const missing = (device: string, prefix: string) =>
  badRequest(
    `${prefix}Failed add validation for device "${device}": Failed loading custom volume: Storage volume not found`,
  );

/** Throws LXD's refusal of the first disk whose volume `member` does not have. */
export async function checkVolumesOn(ctx: Context, project: string, devices: Devices, member: string): Promise<void> {
  const lost = (await readPlaces(ctx, project, devices)).find(({ members }) => !members.includes(member));
  if (lost) throw missing(lost.device, '');
}

/**
 * Where a new instance has to go for its volumes: null when it has none. A member that is named as target must have them
 * all; otherwise the first that does is taken. Throws LXD's refusal when there is none.
 */
export async function memberOfVolumes(
  ctx: Context,
  project: string,
  devices: Devices,
  target: string | null,
  prefix: string,
): Promise<string | null> {
  const places = await readPlaces(ctx, project, devices);
  const [first, ...rest] = places;
  if (!first) return null;
  const named = target === null || target.startsWith('@') ? null : target;
  const common = first.members.filter((member) => rest.every(({ members }) => members.includes(member)));
  const member = named === null ? common[0] : common.find((name) => name === named);
  if (member !== undefined) return member;
  const lost = named === null ? first : (places.find(({ members }) => !members.includes(named)) ?? first);
  throw missing(lost.device, prefix);
}
