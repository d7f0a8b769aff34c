/** Command name → executor. A command without one does not compile. */
import type { Command, CommandName, CommandParams, CommandResult } from '#protocol/commands.ts';
import { upgradeAgent } from './agent-upgrade.ts';
import type { CommandContext, Host } from './host.ts';
import { deleteImage, inspectImage } from './image.ts';
import { createInstance } from './instance-create.ts';
import { deleteInstance } from './instance-delete.ts';
import { execInstance } from './instance-exec.ts';
import { receiveInstance } from './instance-receive.ts';
import { renameInstance } from './instance-rename.ts';
import { sendInstance } from './instance-send.ts';
import { changeInstanceState } from './instance-state.ts';
import { updateInstance } from './instance-update.ts';
import { createNetwork, deleteNetwork, updateNetwork } from './network.ts';
import { createPool, deletePool, updatePool } from './pool.ts';
import { createVolume, deleteVolume, renameVolume, updateVolume } from './volume.ts';

export type Executor<N extends CommandName> = (
  host: Host,
  context: CommandContext,
  params: CommandParams<N>,
) => Promise<CommandResult<N>>;

const EXECUTORS: { [N in CommandName]: Executor<N> } = {
  'instance.create': createInstance,
  'instance.state': changeInstanceState,
  'instance.update': updateInstance,
  'instance.rename': renameInstance,
  'instance.delete': deleteInstance,
  'instance.exec': execInstance,
  'instance.send': sendInstance,
  'instance.receive': receiveInstance,
  'image.inspect': inspectImage,
  'image.delete': deleteImage,
  'pool.create': createPool,
  'pool.update': updatePool,
  'pool.delete': deletePool,
  'volume.create': createVolume,
  'volume.update': updateVolume,
  'volume.rename': renameVolume,
  'volume.delete': deleteVolume,
  'network.create': createNetwork,
  'network.update': updateNetwork,
  'network.delete': deleteNetwork,
  'agent.upgrade': upgradeAgent,
};

/** Runs a command on the host; throws what the executor throws. */
export function execute<N extends CommandName>(
  host: Host,
  context: CommandContext,
  command: { name: N; params: CommandParams<N> },
): Promise<CommandResult<N>> {
  return EXECUTORS[command.name](host, context, command.params);
}

export type { Command };
