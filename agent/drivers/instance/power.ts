/** Stopping, killing and freezing a running container: signals to its init and files of its control group. */
import { cancelled, failed } from '#protocol/errors.ts';
import { type Cgroup, readCgroupFile, writeCgroupFile } from '../../system/cgroup.ts';
import { hasSignal, sendSignal, signalMasks, waitUntil } from '../../system/proc.ts';

const SIGKILL = 9;
const SIGPWR = 30;
/** SIGRTMIN+3: systemd's "halt". */
const SIGNAL_HALT = 37;
/** After a kill, only the kernel and the hooks have work left. */
const GONE_TIMEOUT_MS = 30_000;
const FREEZE_TIMEOUT_MS = 10_000;

export interface Running {
  init: number;
  cgroup: Cgroup;
  /** True once monitor, control group and interfaces are gone. */
  isGone(): boolean;
}

/** Freezes or thaws, and waits until the kernel says so. Throws `failed`. */
export async function setFrozen(cgroup: Cgroup, frozen: boolean): Promise<void> {
  const freezer = cgroup.find('freezer');
  if (freezer === null) throw failed('This host has no freezer controller');
  const { directory, version } = freezer;
  const settled =
    version === 1
      ? () => readCgroupFile(directory, 'freezer.state') === (frozen ? 'FROZEN' : 'THAWED')
      : () => new RegExp(`^frozen ${frozen ? 1 : 0}$`, 'm').test(readCgroupFile(directory, 'cgroup.events') ?? '');
  if (version === 1) writeCgroupFile(directory, 'freezer.state', frozen ? 'FROZEN' : 'THAWED');
  else writeCgroupFile(directory, 'cgroup.freeze', frozen ? '1' : '0');
  if (await waitUntil(settled, { timeoutMs: FREEZE_TIMEOUT_MS })) return;
  if (frozen) await setFrozen(cgroup, false);
  throw failed(`Failed ${frozen ? 'freezing' : 'unfreezing'} instance: processes did not settle in time`);
}

function thawDying(directory: string): void {
  try {
    writeCgroupFile(directory, 'freezer.state', 'THAWED');
  } catch {
    // The group is gone with its last process.
  }
}

/** Kills the init, and with it the container, frozen or not. Returns when nothing of it is left. */
export async function kill(running: Running): Promise<void> {
  sendSignal(running.init, SIGKILL);
  // A frozen v1 group takes the signal only when thawed; v2 kills frozen processes.
  const freezer = running.cgroup.find('freezer');
  if (freezer?.version === 1) thawDying(freezer.directory);
  if (!(await waitUntil(running.isGone, { timeoutMs: GONE_TIMEOUT_MS }))) {
    throw failed('Failed stopping instance: it is still there after SIGKILL');
  }
}

/**
 * Sends the halt signal that liblxc would choose, once the init listens: the kernel drops a signal that an init has no
 * handler for, and one that has just been started has none yet. Sent again when what it listens to changes.
 */
function makeAsk(init: number): () => void {
  let askedWith: string | null = null;
  return () => {
    const masks = signalMasks(init);
    if (masks === null || masks === askedWith) return;
    const takesHalt = hasSignal(init, 'SigBlk', SIGNAL_HALT);
    if (!takesHalt && !hasSignal(init, 'SigBlk', SIGPWR) && !hasSignal(init, 'SigCgt', SIGPWR)) return;
    askedWith = masks;
    sendSignal(init, takesHalt ? SIGNAL_HALT : SIGPWR);
  };
}

/** Asks the init to halt and waits; false when it did not within the time. Throws `cancelled`. */
export async function halt(
  running: Running,
  options: { timeoutMs: number | null; signal?: AbortSignal },
): Promise<boolean> {
  const ask = makeAsk(running.init);
  const isGone = () => {
    if (running.isGone()) return true;
    ask();
    return false;
  };
  try {
    return await waitUntil(isGone, options);
  } catch (error) {
    if (options.signal?.aborted) throw cancelled();
    throw error;
  }
}
