/** The console of a running container, by lxc-console on a terminal of ours. */
import { sendSignal } from '../../system/proc.ts';
import { spawnTerminal } from '../../system/spawn.ts';
import type { ExecProcess } from './driver.ts';

const DEFAULT_SIZE = { width: 80, height: 25 };
const SIGKILL = 9;
/** As lxc-console reads it, a character that nobody can type: clients have their own way to leave, and Ctrl-A is a key. */
const NO_ESCAPE = '^_';

/**
 * Starts lxc-console. Of two at once it lets only the first in: the other ends with its words on the terminal. Every signal
 * ends it, since what runs behind the console is not its child.
 */
export function joinConsole(
  { lxcPath, name, searchPath }: { lxcPath: string; name: string; searchPath: string },
  { width, height }: { width: number; height: number },
): ExecProcess {
  const args = ['-P', lxcPath, '-n', name, '--quiet', '-t', '0', '-e', NO_ESCAPE];
  const spawned = spawnTerminal('lxc-console', args, {
    cwd: '/',
    env: { PATH: searchPath, LC_ALL: 'C.UTF-8', TERM: 'xterm' },
    width: width || DEFAULT_SIZE.width,
    height: height || DEFAULT_SIZE.height,
  });
  return { ...spawned, signal: () => sendSignal(spawned.pid, SIGKILL) };
}
