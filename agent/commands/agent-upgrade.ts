/**
 * `agent.upgrade`: this agent becomes the release that the control plane offers. Instances do not notice. The command lives
 * through the restart in the journal, and whoever runs afterwards answers it: the new agent, or the old one when the new one
 * could not start.
 */
import type { CommandParams, CommandResult } from '#protocol/commands.ts';
import { failed } from '#protocol/errors.ts';
import { installRelease } from '../release/install.ts';
import { ownPath, readPointer, sha256Of } from '../release/store.ts';
import type { CommandContext, Host } from './host.ts';

/** Resolves in the process that has the release; the one that installs it ends. Throws when the release did not work. */
export async function upgradeAgent(
  host: Host,
  context: CommandContext,
  offer: CommandParams<'agent.upgrade'>,
): Promise<CommandResult<'agent.upgrade'>> {
  const { release } = host;
  const { version, sha256 } = offer;
  if (sha256Of(ownPath()) === sha256) return { version, sha256 };
  if (context.marks.has(INSTALLED) && readPointer(release.dataDir)?.failed === sha256) {
    throw failed('The new agent could not start or did not reach the control plane: the old one runs on');
  }
  await installRelease(release, offer, context.signal);
  context.marks.add(INSTALLED);
  host.log.info('agent.upgrade.restart', { version, sha256 });
  release.restart();
  // The next process takes it from here.
  return new Promise(() => {});
}

const INSTALLED = 'installed';
