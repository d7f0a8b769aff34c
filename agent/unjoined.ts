/** The agent of a host that is no member yet: it serves the local sockets until the host has become one, however that happens. */
import { existsSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { DEFAULT_DATA_DIR, DEFAULT_RUN_DIR } from './config.ts';
import type { FormingAgent } from './init/form.ts';
import { readStaged, writeStaged } from './init/staged.ts';
import { createHostReader } from './inventory/host.ts';
import { ensureServerPair } from './join/server-pair.ts';
import { chooseSocketPaths, lxdDir } from './join/sockets.ts';
import { serveOn } from './local/server.ts';
import { createUnjoinedApi } from './local/unjoined.ts';
import { enterCluster } from './local/unjoined-enter.ts';
import type { Log } from './log.ts';
import { exec } from './system/exec.ts';

const BOOTSTRAP_FILE = '/var/lib/longshore-control/bootstrap.token';
const LOOK_MS = 500;

export interface UnjoinedDeps {
  log: Log;
  /** An agent of the new member on a socket of its own, while the cluster is formed. */
  openAgent(configDir: string): Promise<FormingAgent>;
}

/** Resolves to the signal that ended it, or to null when there is a membership. */
export async function runUnjoined(
  deps: UnjoinedDeps,
  configPath: string,
  stopped: Promise<string>,
): Promise<string | null> {
  const { log } = deps;
  const dataDir = process.env.LONGSHORE_DATA_DIR ?? DEFAULT_DATA_DIR;
  const configDir = dirname(configPath);
  const readResources = createHostReader({ exec, managedNetworks: () => new Set() });
  const runDir = process.env.LONGSHORE_RUN_DIR ?? DEFAULT_RUN_DIR;
  const socketPaths = (await chooseSocketPaths(configPath, runDir)) ?? [join(runDir, 'unix.socket')];
  await ensureServerPair(exec, lxdDir(), hostname()).catch((err) => log.warn('unjoined.pair.failed', { err }));
  const host = {
    exec,
    readResources,
    answer: async () => [],
    confirm: async () => true,
    print: (line: string) => log.info('unjoined.said', { line }),
    step: (name: string) => log.info('unjoined.step', { name }),
    // This process goes on as the member's agent.
    hasSystemd: () => false,
    openAgent: deps.openAgent,
    warn: (line: string) => log.warn('unjoined.warned', { line }),
  };
  const options = {
    configDir,
    dataDir,
    settings: { dataDir, socketPaths },
    launcher: process.env.LONGSHORE_LAUNCHER ?? '/usr/local/bin/longshore',
    service: false,
    agentWaits: true,
    bootstrapFiles: [join(configDir, 'bootstrap.token'), BOOTSTRAP_FILE],
    identityDir: lxdDir(),
  };
  const api = createUnjoinedApi({
    log,
    hostname: hostname().split('.')[0] ?? '',
    readResources,
    read: () => readStaged(dataDir),
    write: (preseed) => writeStaged(dataDir, preseed),
    enter: (request) => enterCluster(host, options, request),
  });
  const server = await serveOn(api.create, socketPaths, 'lxd');
  log.info('unjoined.started', { socketPaths });
  let timer: NodeJS.Timeout | undefined;
  const joinedElsewhere = new Promise<null>((resolve) => {
    timer = setInterval(() => {
      if (!api.isBusy() && isThere(configPath)) resolve(null);
    }, LOOK_MS);
  });
  const end = await Promise.race([stopped, joinedElsewhere, api.joined.then(() => null)]);
  clearInterval(timer);
  await server.close();
  return end;
}

const isThere = (path: string) => existsSync(path) && statSync(path).size > 0;
