/** The agent that serves the API while a cluster is formed: the host's service, one that waits for a membership, or our own. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { failed } from '#protocol/errors.ts';
import { readConfig } from '../config.ts';
import { openOwnAgent } from '../main.ts';
import { exec } from '../system/exec.ts';
import { createApi } from './api.ts';
import type { FormingAgent } from './form.ts';

export interface AgentChoice {
  /** The systemd unit was installed and started by the join. */
  service: boolean;
  /** Somebody answered on the socket before the join: that agent goes on as the member's. */
  waiting: boolean;
}

/** Throws when the configuration cannot be read or an agent of our own cannot start. */
export async function openFormingAgent(configDir: string, { service, waiting }: AgentChoice): Promise<FormingAgent> {
  const configPath = join(configDir, 'agent.yaml');
  const config = readConfig(configPath, process.env);
  if (service || waiting) {
    const [socketPath] = config.socketPaths;
    if (socketPath === undefined) throw failed('The agent serves no local socket');
    const nothing = async () => {};
    const disable = async () => {
      await exec('systemctl', ['disable', '--now', 'longshore-agent.service']);
    };
    return { socketPath, release: nothing, remove: service ? disable : nothing };
  }
  return openOwnAgent(configPath);
}

/** True when an agent without a membership serves this host's API. */
export async function isAgentWaiting(socketPaths: readonly string[]): Promise<boolean> {
  for (const path of socketPaths) {
    if (!existsSync(dirname(path)) || !existsSync(path)) continue;
    const answers = await createApi(path)
      .get('/1.0')
      .then(
        () => true,
        () => false,
      );
    if (answers) return true;
  }
  return false;
}
