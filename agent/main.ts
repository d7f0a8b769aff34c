/** The agent process: configuration, real drivers, signals. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type AgentDeps, startAgent } from './agent.ts';
import { type AgentConfig, readConfig } from './config.ts';
import { createImageStore } from './drivers/image/index.ts';
import { createLxcDriver } from './drivers/instance/lxc.ts';
import { createBridgeDriver } from './drivers/network/bridge.ts';
import { createHostNames } from './drivers/network/host-names.ts';
import { createStorageDriver } from './drivers/storage/index.ts';
import type { FormingAgent } from './init/form.ts';
import { startCaretaker } from './leave/caretaker.ts';
import { removeState } from './leave/clean-up.ts';
import {
  EXIT_LEFT,
  EXIT_REMOVED,
  endMembership,
  findRemoval,
  forgetRemoval,
  hasJoinedAgain,
  keepName,
  type Removal,
} from './leave/membership.ts';
import { createLog, type Log } from './log.ts';
import { exec } from './system/exec.ts';
import { runUnjoined } from './unjoined.ts';
import { AGENT_VERSION } from './version.ts';

/** What cannot be ended in order within this time is ended anyway; the journal survives it. */
const STOP_LIMIT_MS = 1_500;

/** Whoever removed the member by its own socket still gets the answer through it. */
const LINGER_MS = 500;
/** A join that was typed on the host is noticed so soon. */
const REJOIN_MS = 500;

/**
 * Runs until SIGTERM or SIGINT, then exits 0. Throws when it cannot start. A host whose member was removed is told so once:
 * the process exits with `EXIT_LEFT` when nothing is left to look after, else with `EXIT_REMOVED`; started again it looks after
 * what runs there until the host joins anew.
 */
export async function runAgent(configPath: string): Promise<void> {
  const stopped = new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  for (;;) {
    const removal = findRemoval(configPath, process.env);
    if (removal !== null) await runRemoved(configPath, removal, stopped);
    else if (existsSync(configPath)) await runMember(configPath, stopped);
    else await waitForMembership(configPath, stopped);
  }
}

function createAgentDeps(config: AgentConfig, configPath: string): AgentDeps {
  const { dataDir, runDir, logDir } = config;
  const log = createLog(config.logLevel);
  const hostNames = createHostNames({ exec, dataDir, runDir, log });
  // It may have been on at the last start.
  if (config.hostNames === 'none') void hostNames.withdraw();
  // A programming error in one corner must not take the host's other work with it; it is written down.
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (err) => log.error('agent.rejection', { err }));
  return {
    log,
    exec,
    keepName: (member) => keepName(configPath, member),
    createDrivers: (fetchPart) => ({
      createStorage: (pool) => createStorageDriver({ exec, dataDir, log }, pool),
      instances: createLxcDriver({ exec, dataDir, runDir, logDir, log }),
      networks: createBridgeDriver({
        exec,
        dataDir,
        runDir,
        log,
        ...(config.hostNames === 'none' ? {} : { hostNames }),
      }),
      images: createImageStore({ exec, dataDir, fetchPart, log }),
    }),
  };
}

/** Returns when the host has become a member: by its own command line, or by `lxd init` through the local socket. */
async function waitForMembership(configPath: string, stopped: Promise<string>): Promise<void> {
  const log = createLog('info');
  const end = await runUnjoined({ log, openAgent: () => openOwnAgent(configPath) }, configPath, stopped);
  if (end !== null) await exitBy(log, end, async () => {});
}

/** The agent of this host within this program, on a socket of its own, while a cluster is formed. */
export async function openOwnAgent(configPath: string): Promise<FormingAgent> {
  const config = readConfig(configPath, process.env);
  const socketPath = join(config.runDir, 'forming.socket');
  const quiet = { ...config, socketPaths: [socketPath], logLevel: 'warn' as const };
  const agent = await startAgent(createAgentDeps(quiet, configPath), quiet);
  return { socketPath, release: agent.stop, remove: agent.stop };
}

/** Ends the process: by a signal, or because the member was removed. */
async function runMember(configPath: string, stopped: Promise<string>): Promise<never> {
  const config = readConfig(configPath, process.env);
  const deps = createAgentDeps(config, configPath);
  const agent = await startAgent(deps, config);
  deps.log.info('agent.ready', { version: AGENT_VERSION, node: process.version });
  const end = await Promise.race([stopped, agent.removed]);
  if (typeof end === 'string') return exitBy(deps.log, end, agent.stop);
  deps.log.error('agent.removed', { reason: end.message });
  endMembership(configPath, config, end);
  await new Promise((resolve) => setTimeout(resolve, LINGER_MS));
  await agent.stop();
  agent.forgetWork();
  if (end.cleanUp) return leave(configPath, config, end.message, agent.cleanUp);
  say(`${end.message}. The instances on this host go on running.`);
  process.exit(EXIT_REMOVED);
}

/** Returns when the host has joined again. */
async function runRemoved(configPath: string, removal: Removal, stopped: Promise<string>): Promise<void> {
  const { config, message } = removal;
  const deps = createAgentDeps(config, configPath);
  const caretaker = await startCaretaker(deps, removal);
  if (removal.cleanUp) return leave(configPath, config, message, caretaker.cleanUp);
  say(`${message}. The instances on this host go on running.`);
  deps.log.warn('agent.removed.waiting', { member: config.member, reason: message });
  let timer: NodeJS.Timeout | undefined;
  const joined = new Promise<null>((resolve) => {
    timer = setInterval(() => {
      if (hasJoinedAgain(configPath, removal)) resolve(null);
    }, REJOIN_MS);
  });
  const end = await Promise.race([stopped, joined]);
  clearInterval(timer);
  if (end !== null) return exitBy(deps.log, end, caretaker.stop);
  await caretaker.stop();
}

async function exitBy(log: Log, signal: string, stop: () => Promise<void>): Promise<never> {
  log.info('agent.stopping', { signal });
  setTimeout(() => process.exit(0), STOP_LIMIT_MS);
  await stop().catch(() => {});
  process.exit(0);
}

/** The host is a plain one again, but for what could not go. */
async function leave(
  configPath: string,
  config: AgentConfig,
  message: string,
  cleanUp: () => Promise<string[]>,
): Promise<never> {
  const kept = await cleanUp();
  if (kept.length === 0) removeState(config.dataDir);
  forgetRemoval(configPath);
  if (existsSync('/run/systemd/system')) {
    await exec('systemctl', ['disable', 'longshore-agent.service']).catch(() => {});
  }
  for (const line of [`${message}. What was made here for the cluster is gone.`, ...kept]) say(line);
  process.exit(EXIT_LEFT);
}

/** For whoever typed it, or reads the service's journal. */
const say = (line: string) => process.stderr.write(`${line}\n`);
