/** What a changed profile means for the instances that use it: their members get the new expanded config, and answer for it. */
import { parseCommand } from '#protocol/commands.ts';
import { badRequest, failed } from '#protocol/errors.ts';
import { expandConfig, expandDevices, findRootDisk } from '#worker/domain/config.ts';
import type { NewCommand } from '#worker/objects/contract.ts';
import type { Change } from '#worker/state/changes.ts';
import { listOperationCommands } from '#worker/state/commands.ts';
import { type InstanceRow, listInstances, type ProfileLayer } from '#worker/state/instance-queries.ts';
import { listMembers } from '#worker/state/members.ts';
import { listNetworks } from '#worker/state/networks.ts';
import { listProfileUsers, type ProfileRow, setInstanceMemory } from '#worker/state/profiles.ts';
import type { Statement } from '#worker/state/statement.ts';
import { locationOf, makeChange } from './changes.ts';
import type { Authorized, Context } from './context.ts';
import { memoryBytesOf, toInstanceSpec, toNetworkSpecs } from './instance-spec.ts';
import { byPresence } from './member-work.ts';
import { startOperation, waitForCreated } from './operations.ts';
import { nameVolumeProjects } from './project-volumes.ts';

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
  const commands = plans.map(({ command }) => command);
  await nameVolumeProjects(ctx, commands);
  return { commands, writes: plans.flatMap(({ write }) => write) };
}

/**
 * Writes the change and has it carried out: members that are there are waited for, the others are told when they return.
 * Throws `failed` with LXD's list of the instances that could not follow; the change stays.
 */
export async function converge(
  ctx: Authorized,
  project: string,
  { writes = [], events, commands = [] }: Change,
): Promise<void> {
  const work = byPresence([...commands], commands.length > 0 ? await listMembers(ctx.db) : []);
  if (work.now.length === 0) return makeChange(ctx, { writes, events, commands: work.later });
  const operation = await startOperation(ctx, {
    operation: {
      project,
      class: 'task',
      description: 'Updating profile',
      resources: null,
      mayCancel: false,
      location: locationOf(ctx),
    },
    writes: [...writes],
    commands: work.now,
    converge: work.later,
  });
  await makeChange(ctx, { writes: [], events });
  try {
    await waitForCreated(ctx, operation.id);
  } catch (error) {
    const refusals = await listRefusals(ctx, operation.id);
    if (refusals.length === 0) throw error;
    const text = `The following instances failed to update (profile change still saved):\n${refusals.join('')}`;
    throw failed(text, error);
  }
}

async function listRefusals(ctx: Context, operationId: string): Promise<string[]> {
  const rows = await listOperationCommands(ctx.db, operationId);
  return rows.flatMap((row) => {
    const command = parseCommand(row);
    if (row.status !== 'failed' || command.name !== 'instance.update') return [];
    const { project, name } = command.params.spec;
    return [` - Project: ${project}, Instance: ${name}: ${row.error}\n`];
  });
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
