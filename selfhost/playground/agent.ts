/** The agent of a simulated host, started as systemd would on a real one. */
import type { ChildProcess } from 'node:child_process';
import path from 'node:path';
import type { RunResult } from '../run.ts';
import { childOf, execInHost, type Host, startInHost } from './host.ts';

export interface Agent {
  /** The agent's own pid; undefined when it does not run. */
  pid(): number | undefined;
  /** SIGTERM; resolves when it has ended. Instances go on. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when it has ended, and it stays so. */
  kill(): Promise<void>;
}

/** As systemd: an agent that ends by itself is started again, after a moment. */
const RESTART_AFTER_MS = 1_000;
const STOP_TIMEOUT_MS = 10_000;
/** The agent's word that it has left its cluster for good; the systemd unit knows it too. */
const EXIT_LEFT = 79;

/** The second is where stock clients look when nobody tells them. */
const SOCKETS = '/run/longshore/unix.socket,/var/lib/lxd/unix.socket';

/** Joins the host to the cluster by the product's own command. Any exit code is an answer. */
export const joinHost = (host: Host, program: string, token: string): Promise<RunResult> =>
  // No systemd in there: we are what starts the agent.
  execInHost(host, [process.execPath, program, 'join', token, '--yes', '--no-service', '--socket', SOCKETS], {
    timeoutMs: 60_000,
  });

/** Starts the agent of a joined host, `env` added to its environment. It ends with the host. */
export function startAgent(host: Host, program: string, env: Record<string, string> = {}): Agent {
  const log = path.join(host.dir, 'log', 'agent.log');
  let wanted = true;
  let timer: NodeJS.Timeout | undefined;
  let outer: ChildProcess;
  const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const start = () => {
    outer = startInHost(host, ['env', ...words, process.execPath, program, 'agent'], log);
    outer.once('exit', (code) => {
      if (wanted && code !== EXIT_LEFT) timer = setTimeout(restart, RESTART_AFTER_MS);
    });
  };
  const restart = () => {
    try {
      start();
    } catch {
      // The host is off: its next boot starts the agent.
    }
  };
  const running = () => outer.exitCode === null && outer.signalCode === null;
  const end = async (signal: 'SIGTERM' | 'SIGKILL') => {
    wanted = false;
    clearTimeout(timer);
    if (!running()) return;
    const gone = new Promise<void>((resolve) => {
      outer.once('exit', () => resolve());
    });
    signalAgent(outer, signal);
    const force = setTimeout(() => signalAgent(outer, 'SIGKILL'), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(force);
  };
  start();
  return {
    pid: () => (running() ? childOf(outer) : undefined),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
}

/** The process outside waits for the agent in the host's pid namespace and ends with it. */
function signalAgent(outer: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  const pid = childOf(outer);
  if (pid === undefined) outer.kill('SIGKILL');
  else process.kill(pid, signal);
  // Who pauses the agent pauses the one that waits for it, too; it must go on to see the end.
  outer.kill('SIGCONT');
}
