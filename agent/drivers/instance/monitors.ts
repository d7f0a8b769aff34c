/**
 * Which containers run, without starting a program: `lxc-start -p` leaves the monitor's pid in a file, the container's init
 * is the monitor's child. The monitor outlives the agent, and its file with it.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { childrenOf, commandLine, listPids, readProc } from '../../system/proc.ts';
import { type InstanceStore, writeAtomically } from './store.ts';

export interface Monitors {
  /** Pid of the container's monitor; null when none lives. */
  findMonitor(name: string): number | null;
  /** Pid of the container's init; null when it does not run. */
  findInit(name: string): number | null;
  /** Pid files whose process is no monitor of that container. At one moment of a start that is so, too: look twice. */
  listDead(): { name: string; pid: number }[];
  /** Drops a pid file that still names `pid`. */
  forget(name: string, pid: number): void;
}

/** liblxc's process title. Checked on every look: a pid is used again, a title with our path is not. */
const titleOf = (lxcPath: string, name: string) => `[lxc monitor] ${lxcPath} ${name}`;

function isMonitor(pid: number, lxcPath: string, name: string): boolean {
  const args = commandLine(pid);
  if (args === null) return false;
  if (args.join(' ').trim() === titleOf(lxcPath, name)) return true;
  // Where the kernel does not let liblxc change its title, the arguments of lxc-start stay.
  const after = (option: string) => args[args.indexOf(option) + 1];
  return args[0]?.endsWith('lxc-start') === true && after('-P') === lxcPath && after('-n') === name;
}

const PID_SUFFIX = '.pid';

/** Also takes in monitors whose pid file was lost. */
export function createMonitors(store: InstanceStore): Monitors {
  const { lxcPath } = store;
  const directory = dirname(store.pidFile('any'));
  mkdirSync(directory, { recursive: true, mode: 0o711 });

  const prefix = titleOf(lxcPath, '');
  for (const pid of listPids()) {
    const title = commandLine(pid)?.join(' ').trim();
    if (title?.startsWith(prefix)) writeAtomically(store.pidFile(title.slice(prefix.length)), String(pid));
  }

  const readPid = (name: string): number | null => {
    try {
      return Number(readFileSync(store.pidFile(name), 'utf8').trim()) || null;
    } catch {
      return null;
    }
  };
  const findMonitor = (name: string) => {
    const pid = readPid(name);
    return pid !== null && isMonitor(pid, lxcPath, name) ? pid : null;
  };
  return {
    findMonitor,
    findInit: (name) => {
      const monitor = findMonitor(name);
      if (monitor === null) return null;
      // Hooks are children, too, but in no payload group.
      return childrenOf(monitor).find((pid) => readProc(pid, 'cgroup')?.includes('/lxc.payload.')) ?? null;
    },
    listDead: () =>
      readdirSync(directory)
        .filter((file) => file.endsWith(PID_SUFFIX))
        .flatMap((file) => {
          const name = file.slice(0, -PID_SUFFIX.length);
          const pid = readPid(name);
          return pid === null || isMonitor(pid, lxcPath, name) ? [] : [{ name, pid }];
        }),
    forget: (name, pid) => {
      if (readPid(name) === pid) rmSync(store.pidFile(name), { force: true });
    },
  };
}
