/** `network.create`, `network.update`, `network.delete`. */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import type { CommandContext, Host } from './host.ts';

/** Makes the network; answers the keys the host decided. */
export async function createNetwork(
  host: Host,
  _context: CommandContext,
  { network, preferredIpv4, preferredIpv6 }: CommandParams<'network.create'>,
): Promise<CommandResult<'network.create'>> {
  const config = await host.networks.create(network, { ipv4: preferredIpv4, ipv6: preferredIpv6 });
  host.journal.networks.put({ ...network, config: { ...network.config, ...config } });
  return { config };
}

/** Applies new keys to the running network. */
export async function updateNetwork(
  host: Host,
  _context: CommandContext,
  { network }: CommandParams<'network.update'>,
): Promise<CommandResult<'network.update'>> {
  const config = await host.networks.update(network);
  host.journal.networks.put({ ...network, config: { ...network.config, ...config } });
  return { config };
}

/** Nothing of the network is left on the host. */
export async function deleteNetwork(
  host: Host,
  _context: CommandContext,
  { name }: CommandParams<'network.delete'>,
): Promise<CommandResult<'network.delete'>> {
  await host.networks.delete(name);
  host.journal.networks.delete(name);
  return {};
}
