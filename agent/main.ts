/** The agent process: configuration, real drivers, signals. */

import { startAgent } from './agent.ts';
import { readConfig } from './config.ts';
import { createImageStore } from './drivers/image/index.ts';
import { createLxcDriver } from './drivers/instance/lxc.ts';
import { createBridgeDriver } from './drivers/network/bridge.ts';
import { createHostNames } from './drivers/network/host-names.ts';
import { createStorageDriver } from './drivers/storage/index.ts';
import { createLog } from './log.ts';
import { exec } from './system/exec.ts';
import { AGENT_VERSION } from './version.ts';

/** What cannot be ended in order within this time is ended anyway; the journal survives it. */
const STOP_LIMIT_MS = 1_500;

/** Runs until SIGTERM or SIGINT, then exits 0. Throws when it cannot start. */
export async function runAgent(configPath: string): Promise<void> {
  const config = readConfig(configPath, process.env);
  const log = createLog(config.logLevel);
  const { dataDir, runDir, logDir } = config;
  const hostNames = config.hostNames === 'none' ? {} : { hostNames: createHostNames({ exec, dataDir, runDir, log }) };
  const agent = await startAgent(
    {
      log,
      exec,
      createDrivers: (fetchPart) => ({
        createStorage: (pool) => createStorageDriver({ exec, dataDir, log }, pool),
        instances: createLxcDriver({ exec, dataDir, runDir, logDir, log }),
        networks: createBridgeDriver({ exec, dataDir, runDir, log, ...hostNames }),
        images: createImageStore({ exec, dataDir, fetchPart, log }),
      }),
    },
    config,
  );
  log.info('agent.ready', { version: AGENT_VERSION, node: process.version });
  // A programming error in one corner must not take the host's other work with it; it is written down.
  process.on('unhandledRejection', (err) => log.error('agent.rejection', { err }));
  await new Promise<void>((resolve) => {
    const stop = (signal: string) => {
      log.info('agent.stopping', { signal });
      setTimeout(() => process.exit(0), STOP_LIMIT_MS);
      agent.stop().then(resolve, resolve);
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
  });
  process.exit(0);
}
