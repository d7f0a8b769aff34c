/** What a changed profile means for the instances that use it: their members get the new expanded config. */
import { badRequest } from '#protocol/errors.ts';
import { expandConfig, expandDevices, findRootDisk } from '#worker/domain/config.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import { type InstanceRow, listInstances, type ProfileLayer } from '#worker/state/instance-queries.ts';
import { listNetworks } from '#worker/state/networks.ts';
import { listProfileUsers, type ProfileRow, setInstanceMemory } from '#worker/state/profiles.ts';
import type { Statement } from '#worker/state/statement.ts';
import type { Context } from './context.ts';
import { memoryBytesOf, toInstanceSpec, toNetworkSpecs } from './instance-spec.ts';

/**
 * The commands and rows that bring every user of `changed` up to date. Throws 400 when an instance would lose its root disk
 * or get it from another pool.
 */
export async function planConvergence(
  ctx: Context,
  changed: ProfileRow,
  before: ProfileRow,
): Promise<{ commands: NewCommand[]; writes: Statement[] }> {
  const users = await listProfileUsers(ctx.db, [changed.project], changed.name);
  if (users.length === 0) return { commands: [], writes: [] };
  const projects = [...new Set(users.map(({ project }) => project))];
  const [list, networks] = await Promise.all([listInstances(ctx.db, projects), listNetworks(ctx.db)]);
  const rows = list.rows.filter((row) =>
    users.some(({ project, instance }) => project === row.project && instance === row.name),
  );
  const plans = rows.map((row) => {
    const layers = layersOf(row, list.profiles, changed);
    const devices = expandDevices(layers, row.devices);
    checkRoot(row, devices, expandDevices(layersOf(row, list.profiles, before), row.devices));
    const used = toNetworkSpecs(
      devices,
      networks,
      networks.flatMap(({ members }) => members),
      row.member,
    );
    const command: NewCommand = {
      member: row.member,
      name: 'instance.update',
      params: { spec: toInstanceSpec(row, layers), networks: used },
    };
    const memoryBytes = memoryBytesOf(expandConfig(layers, row.config));
    return { command, write: memoryBytes === row.memoryBytes ? [] : [setInstanceMemory(ctx.db, row.id, memoryBytes)] };
  });
  return { commands: plans.map(({ command }) => command), writes: plans.flatMap(({ write }) => write) };
}

/** The instance's profiles in its order, `profile` standing for its stored self. All are of one project. */
const layersOf = (row: InstanceRow, known: readonly ProfileLayer[], profile: ProfileRow): ProfileLayer[] =>
  row.profiles.flatMap((name) => {
    if (name === profile.name) return [profile];
    return known.find((layer) => layer.project === profile.project && layer.name === name) ?? [];
  });

function checkRoot(
  row: InstanceRow,
  after: ReturnType<typeof expandDevices>,
  before: ReturnType<typeof expandDevices>,
): void {
  const root = findRootDisk(after);
  if (root === null && findRootDisk(before) !== null) {
    throw badRequest("At least one instance relies on this profile's root disk device");
  }
  if (root !== null && root.device.pool !== row.pool) {
    throw badRequest(`The root disk of instance "${row.name}" cannot move to another storage pool`);
  }
}
