/**
 * Starts and stops as they happen: liblxc's hooks leave one file per event in a directory that is watched. The files wait
 * there while the agent is away, each is consumed once.
 */
import { chmodSync, type FSWatcher, mkdirSync, readdirSync, readFileSync, rmSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { failed } from '#protocol/errors.ts';
import type { Log } from '../../log.ts';
import type { InstanceTransition } from './driver.ts';
import type { Monitors } from './monitors.ts';
import { writeAtomically } from './store.ts';

/** How often monitors are looked at: one that was killed ran no hook. Two looks make it known, within two seconds. */
const CHECK_INTERVAL_MS = 700;
/** A file without its line's end is still being written, or its writer died. */
const INCOMPLETE_MAX_AGE_MS = 5000;

export interface HookEvent {
  name: string;
  type: string;
  target: string;
}

/** Lines of an event file: `NAME TYPE TARGET`. Anything else is left out. */
export function parseHookEvents(text: string): HookEvent[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\S+) (start-host|post-stop) (\S*)$/.exec(line);
    return match?.[1] && match[2] ? [{ name: match[1], type: match[2], target: match[3] ?? '' }] : [];
  });
}

/**
 * The hook. No other program is started, for it runs within every start; one `printf` is one write, and a reader takes a
 * file only when its last line is whole. Nothing of an instance is on its command line.
 */
const script = (directory: string) => `#!/bin/sh
printf '%s %s %s\\n' "$LXC_NAME" "$LXC_HOOK_TYPE" "$LXC_TARGET" >> '${directory}/'"$LXC_HOOK_TYPE-$$"
exit 0
`;

/** Writes the hook script and its directory; returns the script's path. Throws `failed` for a `runDir` liblxc cannot name. */
export function installHook(runDir: string): { hookPath: string; eventsDir: string } {
  // liblxc gives the path to a shell.
  if (!/^\/[A-Za-z0-9._/-]+$/.test(runDir))
    throw failed(`Run directory "${runDir}" has characters that hooks cannot have`);
  const eventsDir = join(runDir, 'events');
  mkdirSync(eventsDir, { recursive: true, mode: 0o700 });
  const hookPath = join(runDir, 'hook.sh');
  writeAtomically(hookPath, script(eventsDir), 0o755);
  chmodSync(hookPath, 0o755);
  return { hookPath, eventsDir };
}

interface Deps {
  eventsDir: string;
  monitors: Monitors;
  log: Log;
  /** The instance of a container name; null when it is not ours any more. */
  refOf(name: string): InstanceTransition['ref'] | null;
}

/** Reads and removes the whole files, oldest first. */
function consume(eventsDir: string): HookEvent[] {
  const files = readdirSync(eventsDir)
    .map((file) => join(eventsDir, file))
    .map((path) => ({ path, stats: statSync(path, { bigint: true, throwIfNoEntry: false }) }))
    .sort((a, b) => Number((a.stats?.mtimeNs ?? 0n) - (b.stats?.mtimeNs ?? 0n)));
  return files.flatMap(({ path, stats }) => {
    if (stats === undefined) return [];
    const text = readFileSync(path, 'utf8');
    const isWhole = text.endsWith('\n');
    if (!isWhole && Date.now() - Number(stats.mtimeMs) < INCOMPLETE_MAX_AGE_MS) return [];
    rmSync(path, { force: true });
    return isWhole ? parseHookEvents(text) : [];
  });
}

/** Calls back for what waits there already, then for every change, until the returned function is called. */
export function watchEvents(deps: Deps, listener: (transition: InstanceTransition) => void): () => void {
  const rebooting = new Set<string>();
  const toldStopped = new Set<string>();
  let suspects = new Map<string, number>();
  let ended = false;

  const tell = (name: string, kind: InstanceTransition['kind']) => {
    const ref = deps.refOf(name);
    if (ref !== null) listener({ ref, kind });
  };
  const drain = () => {
    if (ended) return;
    for (const { name, type, target } of consume(deps.eventsDir)) {
      if (type === 'start-host') {
        toldStopped.delete(name);
        tell(name, rebooting.delete(name) ? 'rebooted' : 'started');
      } else if (target === 'reboot') {
        // Told when it is up again; a failed second start says "stop".
        rebooting.add(name);
      } else {
        rebooting.delete(name);
        // Its pid file stays until the monitor has ended: it is how a start knows to wait.
        toldStopped.add(name);
        tell(name, 'stopped');
      }
    }
  };
  const guarded = (act: () => void) => () => {
    try {
      act();
    } catch (error) {
      deps.log.error('instance.events.failed', { err: error });
    }
  };
  const look = guarded(drain);
  const check = guarded(() => {
    drain();
    const dead = deps.monitors.listDead();
    for (const { name, pid } of dead) {
      if (suspects.get(name) !== pid) continue;
      deps.monitors.forget(name, pid);
      if (!toldStopped.has(name)) tell(name, 'stopped');
    }
    suspects = new Map(dead.map(({ name, pid }) => [name, pid]));
  });

  const watcher: FSWatcher = watch(deps.eventsDir, look);
  watcher.on('error', (error) => deps.log.error('instance.events.watch.failed', { err: error }));
  const timer = setInterval(check, CHECK_INTERVAL_MS);
  setImmediate(check);
  return () => {
    ended = true;
    clearInterval(timer);
    watcher.close();
  };
}
