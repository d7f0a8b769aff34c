/**
 * A simulated host: network, mount, pid, UTS, IPC and cgroup namespaces of its own; a `/run`, `/etc` and `/var/lib` of its
 * own over the machine's; the machine's programs. Powering it off kills all it runs at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { inRepository } from '../paths.ts';
import { type RunOptions, type RunResult, run } from '../run.ts';
import { waitFor } from '../wait.ts';
import {
  cgroupsOf,
  createCgroups,
  delegateControllers,
  entryFiles,
  type HostCgroups,
  killAll,
  readHierarchies,
  removeCgroups,
} from './cgroups.ts';
import { detachLoops } from './loops.ts';
import { addHostNet, type Net, netnsOf, removeHostNet, resetHostNet } from './network.ts';

export interface Host {
  net: Net;
  number: number;
  name: string;
  /** What survives a reboot, and `pid` while it runs. */
  dir: string;
  cgroups: HostCgroups;
}

/** Joins the host's control groups, then becomes the program. The arguments are data, the script is constant. */
const ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"';

/** Describes host `number` of the run whose state is under `dir`; makes nothing. */
export function describeHost(net: Net, dir: string, number: number): Host {
  const cgroups = cgroupsOf(readHierarchies(), netnsOf(net, number));
  return { net, number, name: `host${number}`, dir: path.join(dir, `host${number}`), cgroups };
}

/** Builds what of a host is there while it is off: its cable and its disk. */
export async function createHost(host: Host): Promise<void> {
  await mkdir(host.dir, { recursive: true });
  await addHostNet(host.net, host.number);
}

/** Pid of its pid 1 as this machine sees it; null when it is off. */
export function pidOf(host: Host): number | null {
  const file = path.join(host.dir, 'pid');
  if (!existsSync(file)) return null;
  const pid = Number(readFileSync(file, 'utf8'));
  return existsSync(`/proc/${pid}`) ? pid : null;
}

/** Powers it on; about 0.1 s. It goes off when this process ends, however that happens. Throws with its log when it fails. */
export async function bootHost(host: Host, options: { cgroups?: 'all' | 'v2' } = {}): Promise<void> {
  if (pidOf(host) !== null) throw new Error(`${host.name} is on already`);
  createCgroups(readHierarchies(), netnsOf(host.net, host.number));
  rmSync(path.join(host.dir, 'ready'), { force: true });
  const log = path.join(host.dir, 'boot.log');
  const out = openSync(log, 'w');
  // setpriv, sh, nsenter and unshare become one another: one process, which takes its child along when it dies.
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', '--', 'sh', '-c', ENTER, 'sh', ...host.cgroups.procs, '--'],
      ...['nsenter', `--net=/run/netns/${netnsOf(host.net, host.number)}`],
      ...['unshare', '--cgroup', '--mount', '--pid', '--uts', '--ipc', '--fork', '--kill-child', '--mount-proc'],
      ...[inRepository('selfhost/playground/host-init'), host.dir, host.name, options.cgroups ?? 'all'],
    ],
    { stdio: ['ignore', out, out], detached: true, cwd: '/' },
  );
  closeSync(out);
  await waitFor(`${host.name} to boot`, () => {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`${host.name} did not boot: ${readFileSync(log, 'utf8').trim()}`);
    }
    return existsSync(path.join(host.dir, 'ready'));
  });
  const pid = childOf(child);
  if (pid === undefined) throw new Error(`${host.name} ended at its start`);
  await run('tee', [path.join(host.dir, 'pid')], { input: String(pid) });
  delegateControllers(host.cgroups);
  child.unref();
}

/** The one child of a process that started one in another pid namespace. */
export function childOf(child: ChildProcess): number | undefined {
  try {
    const text = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    return Number(text.trim().split(' ')[0]) || undefined;
  } catch {
    return undefined;
  }
}

/** The command line that runs a program in the host: nothing inherited but the terminal. Throws when the host is off. */
export function enterCommand(host: Host, argv: readonly string[], cwd = '/'): { file: string; args: string[] } {
  const pid = pidOf(host);
  if (pid === null) throw new Error(`${host.name} is off`);
  const enter = ['--mount', '--pid', '--net', '--uts', '--ipc', '--cgroup', '--root', `--wdns=${cwd}`];
  return {
    file: 'sh',
    args: ['-c', ENTER, 'sh', ...entryFiles(host.cgroups), '--', 'nsenter', '-t', String(pid), ...enter, '--', ...argv],
  };
}

/** The environment of the host's programs: `lxc` there finds the host's socket, not the one of whoever looks on. */
export const hostEnv = (): Record<string, string> => ({
  PATH: `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${path.dirname(process.execPath)}`,
  HOME: '/run/home',
  LC_ALL: 'C.UTF-8',
  TERM: process.env.TERM ?? 'dumb',
});

/** Runs a program in the host to its end; any exit code is an answer. */
export async function execInHost(host: Host, argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { file, args } = enterCommand(host, argv, options.cwd);
  const result = await execa(file, args, {
    reject: false,
    extendEnv: false,
    env: { ...hostEnv(), ...options.env },
    timeout: options.timeoutMs ?? 120_000,
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    stripFinalNewline: false,
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.timedOut) throw new Error(`${host.name}: ${argv.join(' ')} timed out`);
  return { stdout: result.stdout, stderr: result.stderr, code: result.exitCode ?? -1 };
}

/** Starts a program that stays. It ends with the host. The process returned is the one that waits outside for it. */
export function startInHost(host: Host, argv: readonly string[], log: string): ChildProcess {
  const { file, args } = enterCommand(host, argv);
  const out = openSync(log, 'a');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', file, ...args], {
    stdio: ['ignore', out, out],
    detached: true,
    cwd: '/',
    env: hostEnv(),
  });
  closeSync(out);
  return child;
}

/** Power-off without warning. Files stay; processes, mounts, bridges and rules are gone. Off already: fine. */
export async function crashHost(host: Host): Promise<void> {
  const pid = pidOf(host);
  if (pid !== null) {
    // Its parent outside is still there to take note of its end: no zombie stays.
    process.kill(pid, 'SIGKILL');
    await waitFor(`${host.name} to go off`, () => !existsSync(`/proc/${pid}`));
  }
  await killAll(host.cgroups);
  rmSync(path.join(host.dir, 'pid'), { force: true });
  await removeCgroups(host.cgroups, { self: false });
  await resetHostNet(host.net, host.number);
  await detachLoops(host.dir);
}

/** Off, and nothing of it left. */
export async function removeHost(host: Host): Promise<void> {
  await crashHost(host);
  await removeCgroups(host.cgroups, { self: true });
  await removeHostNet(host.net, host.number);
  rmSync(host.dir, { recursive: true, force: true });
}
