/** What a host on its own needs to serve its instances: the drivers that commands use, in turn with them. */
import type { CommandName, CommandParams, CommandResult } from '#protocol/commands.ts';
import type { HostResources } from '#protocol/inventory.ts';
import type { Host } from '../../commands/host.ts';
import type { EventOutbox } from '../../inventory/event-outbox.ts';

export interface AloneDeps {
  host: Host;
  member: string;
  resources(): Promise<HostResources>;
  /** Runs a command as the control plane's are run, in turn with them, but with nothing journaled or sent. */
  perform<N extends CommandName>(host: Host, command: { name: N; params: CommandParams<N> }): Promise<CommandResult<N>>;
  /** Is told to the control plane as soon as it can be. */
  keepEvent: EventOutbox['keep'];
}
