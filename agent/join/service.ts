/** The agent as a service of the host. */
import type { Exec } from '../system/exec.ts';
import { type JoinPaths, renderUnit, UNIT_PATH, writeWhole } from './files.ts';

export interface ServiceDeps {
  exec: Exec;
  print(line: string): void;
  hasSystemd(): boolean;
}

/** Installs and starts the unit where systemd runs; elsewhere says how to start the agent. May be repeated. */
export async function startService(
  deps: ServiceDeps,
  options: { launcher: string; service: boolean; agentWaits?: boolean },
  paths: Pick<JoinPaths, 'config'>,
): Promise<void> {
  if (!options.service || !deps.hasSystemd()) {
    const start = `Start the agent with: ${options.launcher} agent --config ${paths.config}`;
    deps.print(options.agentWaits === true ? 'The agent that waits on this host goes on as the member’s.' : start);
    return;
  }
  writeWhole(UNIT_PATH, renderUnit(options.launcher, paths.config), 0o644);
  await deps.exec('systemctl', ['daemon-reload']);
  await deps.exec('systemctl', ['enable', 'longshore-agent.service']);
  // Also right when it runs already, with an older configuration.
  await deps.exec('systemctl', ['restart', 'longshore-agent.service']);
  deps.print('The agent runs as longshore-agent.service.');
}
