/**
 * A host that was removed while instances were on it: nobody asks for them any more, but they go on. Pools and networks are
 * kept up, and after a boot the instances start that belong up. There is no link; the local sockets tell why.
 */
import { join } from 'node:path';
import { unavailable } from '#protocol/errors.ts';
import { type AgentDeps, createHost } from '../agent.ts';
import { readBoot, restoreHost, restoreInstances } from '../inventory/boot.ts';
import { openSqliteJournal } from '../journal/sqlite.ts';
import { createPool } from '../link/pool.ts';
import { cleanUp } from './clean-up.ts';
import type { Removal } from './membership.ts';
import { startRefusalServer } from './refusal-server.ts';

export interface Caretaker {
  /** As the agent's. */
  cleanUp(): Promise<string[]>;
  stop(): Promise<void>;
}

/** Looks after the host by what its journal says. Throws when journal or sockets cannot be opened. */
export async function startCaretaker(
  deps: Pick<AgentDeps, 'log' | 'exec' | 'createDrivers'>,
  { config, message }: Removal,
): Promise<Caretaker> {
  const { log } = deps;
  const trust = { fingerprint: config.fingerprint };
  const journal = openSqliteJournal(join(config.dataDir, 'agent.db'));
  const link = { whenUp: () => Promise.reject(unavailable(message)) };
  const pool = createPool(trust, 0);
  const host = createHost(deps, { journal, link, trust, pool, dataDir: config.dataDir });
  const server = await startRefusalServer(config.socketPaths, message);
  const ready = restoreHost(host)
    .then(async () => restoreInstances(host, await readBoot(), async (_spec, work) => void (await work())))
    .catch((err: unknown) => log.error('host.restore.failed', { err }));
  return {
    cleanUp: async () => {
      await ready;
      return cleanUp(host);
    },
    stop: async () => {
      await server.close();
      pool.destroy();
      journal.close();
    },
  };
}
