/**
 * A three-host cluster for tests: the playground that `npm start` runs, on another port. The end-to-end run makes one
 * (`global-setup.ts`), and each test file reaches it with `e2eCluster()`.
 */
import path from 'node:path';
import { ensureDebian } from '#selfhost/images/debian.ts';
import { ensureTiny } from '#selfhost/images/tiny.ts';
import { joinHost } from '#selfhost/playground/agent.ts';
import { type Client, clientEnv, lxc, startLxc } from '#selfhost/playground/client.ts';
import { ensureBareHost, joinBareHost, startPlayground, stopPlayground } from '#selfhost/playground/cluster.ts';
import { describeHost, execInHost, pidOf } from '#selfhost/playground/host.ts';
import { netOf } from '#selfhost/playground/network.ts';
import { silentReport } from '#selfhost/playground/progress.ts';
import { describe, Info, Status, servePlayground, socketOf } from '#selfhost/playground/remote.ts';
import { createBridge, createPools, fillDefaultProfile, importImage } from '#selfhost/playground/resources.ts';
import { ask, type Verb } from '#selfhost/playground/rpc.ts';
import { sweepRuns } from '#selfhost/playground/runs.ts';
import { findFreePort } from '#selfhost/port.ts';
import { parentOf, residentBytes } from '#selfhost/processes.ts';
import type { RunOptions, RunResult } from '#selfhost/run.ts';
import { waitFor } from '#selfhost/wait.ts';

/** A simulated host, a member or not. */
export interface ClusterHost {
  exec(argv: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** `longshore join`; any exit code is an answer. */
  join(token: string): Promise<RunResult>;
  startAgent(): Promise<void>;
  stopAgent(): Promise<void>;
  /** SIGKILL; it stays dead until `startAgent`. */
  killAgent(): Promise<void>;
  /** Pid of its agent as this machine sees it. Throws when none runs. */
  agentPid(): Promise<number>;
  /** Its agent hears and says nothing; its sockets stay open. Kill or resume it. */
  pauseAgent(): Promise<void>;
  resumeAgent(): Promise<void>;
  /** Where this machine sees a file of the host, until it is powered off. */
  path(file: string): string;
}

/** `lxc` that goes on running. */
export interface Streaming {
  /** Resolves when it listens: the client has its connection. */
  connected: Promise<void>;
  output(): string;
  stop(): Promise<void>;
}

export interface Cluster {
  /** Where the control plane serves on 127.0.0.1. */
  port: number;
  /** `LXD_CONF` of the client that is its administrator. */
  lxdConf: string;
  /** The program of the agents. */
  program: string;
  /** What the control plane keeps: database, blobs, secrets. */
  controlDir: string;
  /** Runs the stock client; any exit code is an answer. */
  lxc(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  lxcStream(args: readonly string[]): Streaming;
  /** File, arguments and environment, for what starts it in a way of its own. */
  lxcCommand(args: readonly string[]): [string, string[], Record<string, string>];
  host(number: number): ClusterHost;
  /** A booted host that is no member. */
  bareHost(number: number): Promise<ClusterHost>;
  /** One more member; resolves to its number. */
  addHost(): Promise<number>;
  /** Takes the machine away and the member out of the cluster, if it is one. */
  removeHost(number: number): Promise<void>;
  cut(number: number): Promise<void>;
  heal(number: number): Promise<void>;
  crash(number: number): Promise<void>;
  boot(number: number): Promise<void>;
  /** Memory of each process of the control plane and of each agent. */
  residentBytes(): Promise<Record<string, number>>;
}

export interface StartOptions {
  hosts?: number;
  /** Build (or find in the cache) and import Debian as well. */
  debian?: boolean;
  /** Of the control plane. */
  logLevel?: 'debug' | 'info';
}

export interface StartedCluster extends Cluster {
  info: Info;
  stop(): Promise<void>;
}

/** A cluster of its own, with pools, bridge, profile and images as `npm start` makes them. */
export async function startCluster(options: StartOptions = {}): Promise<StartedCluster> {
  const { hosts = 3, debian = true, logLevel = 'info' } = options;
  await sweepRuns();
  const playground = await startPlayground({
    port: await findFreePort(),
    conf: (run) => path.join(run.dir, 'lxc-conf'),
    report: silentReport,
    logLevel,
  });
  const server = await servePlayground(playground);
  const stop = async () => {
    server.close();
    await stopPlayground(playground);
  };
  try {
    const numbers = Array.from({ length: hosts }, (_, index) => index + 1);
    await Promise.all(numbers.map((number) => ensureBareHost(playground, number)));
    await Promise.all(numbers.map((number) => joinBareHost(playground, number)));
    await Promise.all([createPools(playground), createBridge(playground)]);
    await fillDefaultProfile(playground);
    await importImage(playground, await ensureTiny(), 'tiny');
    if (debian) await importImage(playground, await ensureDebian(), 'debian/12');
    const info = describe(playground);
    return { ...connect(info), info, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Name of the variable by which the global set-up tells test files where the cluster is. */
export const E2E_VARIABLE = 'LONGSHORE_E2E_CLUSTER';

/** The cluster of this end-to-end run. Throws outside one. */
export function e2eCluster(): Cluster {
  const text = process.env[E2E_VARIABLE];
  if (text === undefined) throw new Error('No end-to-end cluster: run these tests by npm run test:e2e');
  return connect(Info.parse(JSON.parse(text)));
}

/** A running playground, perhaps of another process. */
function connect(info: Info): Cluster {
  const client: Client = { conf: info.conf, certificateFile: path.join(info.conf, 'client.crt') };
  const tell = async (verb: Verb, host?: number) =>
    ask(socketOf(info.runDir), { verb, ...(host === undefined ? {} : { host }) });
  const act = (verb: Verb) => async (number: number) => {
    await tell(verb, number);
  };
  const host = (number: number): ClusterHost => {
    const it = describeHost(netOf(info.octet), info.runDir, number);
    const agentPid = async () => {
      const pid = Status.parse(await tell('status')).find((status) => status.number === number)?.agentPid;
      if (!pid) throw new Error(`No agent runs on ${it.name}`);
      return pid;
    };
    return {
      exec: (argv, options) => execInHost(it, argv, options),
      join: (token) => joinHost(it, info.program, token),
      startAgent: () => act('start-agent')(number),
      stopAgent: () => act('stop-agent')(number),
      killAgent: () => act('kill-agent')(number),
      agentPid,
      pauseAgent: async () => void process.kill(await agentPid(), 'SIGSTOP'),
      resumeAgent: async () => {
        const pid = await agentPid();
        process.kill(pid, 'SIGCONT');
        // The process outside that waits for it has paused itself, too.
        process.kill(parentOf(pid), 'SIGCONT');
      },
      path: (file) => path.join(`/proc/${pidOf(it)}/root`, file),
    };
  };
  return {
    port: info.port,
    lxdConf: info.conf,
    program: info.program,
    controlDir: path.join(info.runDir, 'control'),
    lxc: (args, options) => lxc(client, args, options),
    lxcStream: (args) => stream(client, args),
    lxcCommand: (args) => ['lxc', [...args], { ...inherited(), ...clientEnv(info.conf) }],
    host,
    bareHost: async (number) => {
      await tell('ensure-bare', number);
      return host(number);
    },
    addHost: async () => Number(String(await tell('add')).replace('host', '')),
    removeHost: async (number) => {
      await lxc(client, ['cluster', 'remove', '--force', '--yes', `host${number}`]);
      await tell('drop', number);
    },
    cut: act('cut'),
    heal: act('heal'),
    crash: act('crash'),
    boot: act('boot'),
    residentBytes: async () => {
      const now = Info.parse(await tell('info'));
      const hosts = Status.parse(await tell('status'));
      const agents = hosts.flatMap((it) =>
        it.agentPid === null ? [] : [[`agent of ${it.name}`, it.agentPid] as const],
      );
      const pids = [...Object.entries(now.controlPids), ...agents];
      return Object.fromEntries(pids.map(([name, pid]) => [name, residentBytes(pid)]));
    },
  };
}

const inherited = (): Record<string, string> =>
  Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );

function stream(client: Client, args: readonly string[]): Streaming {
  // With --debug the client says on stderr when its websocket stands.
  const child = startLxc(client, [...args, '--debug']);
  let output = '';
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += String(chunk);
  });
  child.stdout.on('data', (chunk) => {
    output += String(chunk);
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  return {
    connected: waitFor('lxc to connect', () => log.includes('Connected to the websocket'), { timeoutMs: 20_000 }).then(
      () => undefined,
    ),
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
