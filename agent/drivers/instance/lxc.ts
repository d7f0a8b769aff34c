/**
 * Instances by liblxc's tools: `lxc-start` and `lxc-attach` are started, everything else is files of the kernel and
 * signals.
 *
 * Invariants: the config is written anew from the set-up before every start, so it fits the host as it is then; a container
 * is found by its monitor, whose title carries our path; monitors survive the agent.
 */
import { closeSync, constants, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { InstanceRef } from '#protocol/commands.ts';
import { AppError, badRequest, conflict, failed, notFound } from '#protocol/errors.ts';
import type { Log } from '../../log.ts';
import { type Cgroup, cgroupOf, readCgroupMounts, removeCgroup } from '../../system/cgroup.ts';
import { type Exec, ExecError } from '../../system/exec.ts';
import { O_PATH } from '../../system/openat2.ts';
import { waitUntil } from '../../system/proc.ts';
import { attach } from './attach.ts';
import { joinConsole } from './console.ts';
import { hostDevices } from './devices.ts';
import type { InstanceDriver, InstanceNic, InstanceRoot, InstanceSetup } from './driver.ts';
import { installHook, watchEvents } from './events.ts';
import { configHost, limitHost } from './host.ts';
import { checkSubordinateIds, isPrivileged, plainOwners, runningOwners, runsPrivileged } from './idmap.ts';
import { limitsOf } from './limits.ts';
import { applyLiveLimits } from './live-limits.ts';
import { lastStartError, readTail, rotateLog } from './logs.ts';
import { renderConfig } from './lxc-config.ts';
import { sweepMetrics } from './metrics.ts';
import { loadModules } from './modules.ts';
import { createMonitors } from './monitors.ts';
import { plugDevices, unplugDevices } from './plug.ts';
import { halt, kill, type Running, setFrozen } from './power.ts';
import { stageDisks, unstageDisks } from './staging.ts';
import { readState, runningStatus } from './state.ts';
import { containerName, createStore, writeAtomically } from './store.ts';

export interface LxcDeps {
  exec: Exec;
  dataDir: string;
  /** Lost at a reboot: pid files, hook events. */
  runDir: string;
  logDir: string;
  log: Log;
  /** PATH for liblxc's tools; without newuidmap on it liblxc, as root, writes id maps itself. */
  searchPath?: string;
}

const START_TIMEOUT_MS = 120_000;
/** A container that has just stopped is cleaned up by its monitor within milliseconds. */
const STOPPING_TIMEOUT_MS = 30_000;
const LEFTOVERS_TIMEOUT_MS = 1000;
const DEFAULT_SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Prepares the directories and the hook, takes in containers that run already. */
export function createLxcDriver(deps: LxcDeps): InstanceDriver {
  const { exec, log } = deps;
  const searchPath = deps.searchPath ?? process.env.PATH ?? DEFAULT_SEARCH_PATH;
  const store = createStore(deps);
  mkdirSync(store.lxcPath, { recursive: true, mode: 0o711 });
  const mounts = readCgroupMounts();
  const { hookPath, eventsDir } = installHook(deps.runDir);
  const monitors = createMonitors(store);

  const findRunning = (name: string): { init: number; cgroup: Cgroup } | null => {
    const init = monitors.findInit(name);
    const cgroup = init === null ? null : cgroupOf(mounts, init);
    return init === null || cgroup === null ? null : { init, cgroup };
  };
  const getRunning = (name: string): Running => {
    const running = findRunning(name);
    if (running === null) throw badRequest('Instance is not running');
    return { ...running, isGone: () => monitors.findMonitor(name) === null };
  };
  const writeConfig = (setup: InstanceSetup, name: string) => {
    const host = configHost(mounts, { hookPath, logDir: store.logDir(name) });
    writeAtomically(store.configPath(name), renderConfig(setup, host, name));
  };
  /** Waits for a monitor that is busy cleaning up; true when the container really runs. */
  const settledRunning = async (name: string): Promise<boolean> => {
    const settled = () => findRunning(name) !== null || monitors.findMonitor(name) === null;
    if (!(await waitUntil(settled, { timeoutMs: STOPPING_TIMEOUT_MS }))) {
      throw failed(`Instance "${name}" is neither running nor stopped`);
    }
    return findRunning(name) !== null;
  };
  /** What a killed monitor left behind. */
  const removeLeftovers = async (name: string, setup: InstanceSetup) => {
    const groups = [...new Set([...mounts.v1.values(), ...(mounts.v2 === null ? [] : [mounts.v2])])].flatMap((mount) =>
      ['payload', 'monitor'].map((kind) => join(mount, `lxc.${kind}.${name}`)),
    );
    // Its processes may still be dying.
    await waitUntil(() => groups.map(removeCgroup).every(Boolean), { timeoutMs: LEFTOVERS_TIMEOUT_MS });
    for (const nic of setup.nics) {
      if (!existsSync(join('/sys/class/net', nic.hostName))) continue;
      // Gone in between is fine, too.
      await exec('ip', ['link', 'delete', 'dev', nic.hostName], { okExitCodes: [0, 1] });
    }
  };

  const statusOf = (running: ReturnType<typeof findRunning>) =>
    running === null ? 'Stopped' : runningStatus(running.cgroup);
  const stateOf = (name: string, running: ReturnType<typeof findRunning>, nics: InstanceNic[]) => {
    if (running === null) return null;
    try {
      return readState(running.init, running.cgroup, nics);
    } catch (error) {
      // It may have stopped while we looked.
      if (findRunning(name)?.init !== running.init) return null;
      throw error;
    }
  };

  const configure: InstanceDriver['configure'] = async (setup) => {
    const name = containerName(setup.spec);
    const host = configHost(mounts, { hookPath, logDir: store.logDir(name) });
    // Refused values leave what was there untouched.
    const text = renderConfig(setup, host, name);
    store.writeSetup(setup);
    writeAtomically(store.configPath(name), text);
  };
  const openRoot: InstanceDriver['openRoot'] = async (ref, volumePath) => {
    const name = containerName(ref);
    const setup = store.getSetup(ref);
    const init = findRunning(name)?.init ?? null;
    const { O_DIRECTORY, O_NOFOLLOW } = constants;
    const open = (): InstanceRoot['fd'] =>
      init === null
        ? openSync(join(volumePath, 'rootfs'), O_PATH | O_DIRECTORY | O_NOFOLLOW)
        : // The kernel's own link to the root of that process.
          openSync(`/proc/${init}/root`, O_PATH | O_DIRECTORY);
    let fd: number;
    try {
      fd = open();
    } catch (error) {
      throw new AppError('failed', `Failed opening the root of instance "${ref.name}"`, { cause: error });
    }
    if (init !== null && findRunning(name)?.init !== init) {
      closeSync(fd);
      throw failed(`Instance "${ref.name}" stopped meanwhile`);
    }
    return { fd, ...(init === null ? plainOwners(setup) : runningOwners(init)), close: () => closeSync(fd) };
  };

  return {
    status: async (ref) => {
      const name = containerName(ref);
      store.getSetup(ref);
      return statusOf(findRunning(name));
    },
    state: async (ref) => {
      const name = containerName(ref);
      const { nics } = store.getSetup(ref);
      return stateOf(name, findRunning(name), nics);
    },
    configure,
    openRoot,

    reconfigure: async (setup) => {
      const before = store.getSetup(setup.spec);
      const init = findRunning(containerName(setup.spec))?.init;
      if (init === undefined) return configure(setup);
      const privileged = runsPrivileged(init);
      const plugged = { exec, init, privileged, openRoot: () => openRoot(setup.spec, setup.volumePath) };
      await unplugDevices(plugged, before, setup);
      await configure(setup);
      await plugDevices(plugged, setup);
    },

    checkDevices: (spec) => {
      hostDevices(spec, true);
    },

    start: async (ref) => {
      const name = containerName(ref);
      const setup = store.getSetup(ref);
      if (await settledRunning(name)) return;
      if (!isPrivileged(setup)) checkSubordinateIds(searchPath);
      await loadModules(exec, setup.spec.expandedConfig['linux.kernel_modules'] ?? '');
      await removeLeftovers(name, setup);
      await unstageDisks(deps, name);
      rotateLog(store.logDir(name));
      const args = ['-P', store.lxcPath, '-n', name, '-d', '-p', store.pidFile(name)];
      const start = () => exec('lxc-start', args, { timeoutMs: START_TIMEOUT_MS, env: { PATH: searchPath } });
      try {
        writeConfig(await stageDisks(deps, name, setup), name);
        await start();
      } catch (error) {
        if (!(error instanceof ExecError)) throw error;
        const reason = lastStartError(store.logDir(name)) ?? error.message;
        await waitUntil(() => monitors.findMonitor(name) === null, { timeoutMs: STOPPING_TIMEOUT_MS });
        await removeLeftovers(name, setup);
        throw failed(`Failed starting instance "${ref.name}": ${reason}`, error);
      } finally {
        await unstageDisks(deps, name);
      }
    },

    stop: async (ref, options) => {
      const name = containerName(ref);
      store.getSetup(ref);
      if (!(await settledRunning(name))) return;
      const running = getRunning(name);
      if (options.force && !options.timeoutMs) return kill(running);
      // A frozen init cannot act on a signal.
      if (runningStatus(running.cgroup) === 'Frozen') await setFrozen(running.cgroup, false);
      if (await halt(running, options)) return;
      if (!options.force) throw failed('Failed shutting down instance, status is "Running": context deadline exceeded');
      await kill(running);
    },

    freeze: async (ref) => setFrozen(getRunning(containerName(ref)).cgroup, true),
    unfreeze: async (ref) => setFrozen(getRunning(containerName(ref)).cgroup, false),

    remove: async (ref) => {
      const name = containerName(ref);
      if (await settledRunning(name)) throw badRequest('Instance is running');
      const setup = store.findSetup(name);
      if (setup !== null) await removeLeftovers(name, setup);
      store.remove(name);
    },

    rename: async (ref, newName) => {
      const name = containerName(ref);
      const newRef: InstanceRef = { project: ref.project, name: newName };
      const target = containerName(newRef);
      // A repeated rename that went through finds the instance at its new name.
      if (store.findSetup(name) === null && store.findSetup(target) !== null) return;
      const setup = store.getSetup(ref);
      if (name === target) return;
      if (await settledRunning(name)) throw badRequest('Renaming of running container not allowed');
      if (store.findSetup(target) !== null) throw conflict(`Name "${newName}" already in use`);
      store.rename(name, target);
      const renamed = { ...setup, spec: { ...setup.spec, name: newName } };
      store.writeSetup(renamed);
      writeConfig(renamed, target);
    },

    applyLimits: async (ref, config) => {
      const name = containerName(ref);
      const limits = limitsOf(config, { ...limitHost(mounts), seed: name });
      const running = findRunning(name);
      if (running !== null) applyLiveLimits(running.cgroup, limits);
    },

    list: async () =>
      store.names().flatMap((name) => {
        try {
          const spec = store.findSetup(name)?.spec;
          return spec ? [{ project: spec.project, name: spec.name }] : [];
        } catch (error) {
          log.error('instance.setup.unreadable', { container: name, err: error });
          return [];
        }
      }),

    report: async (ref) => {
      const name = containerName(ref);
      const { nics } = store.getSetup(ref);
      const running = findRunning(name);
      const { project } = ref;
      return { project, name: ref.name, status: statusOf(running), state: stateOf(name, running, nics) };
    },

    metrics: () =>
      sweepMetrics({ log, memoryTotalBytes: limitHost(mounts).memoryTotalBytes }, store.names(), (name) => {
        const running = findRunning(name);
        const setup = running === null ? null : store.findSetup(name);
        return running === null || setup === null ? null : { ...running, setup };
      }),

    exec: async (ref, request) => {
      const name = containerName(ref);
      const setup = store.getSetup(ref);
      const running = getRunning(name);
      if (runningStatus(running.cgroup) === 'Frozen') throw badRequest('Instance is frozen');
      const environment = Object.fromEntries(
        Object.entries(setup.spec.expandedConfig)
          .filter(([key]) => key.startsWith('environment.'))
          .map(([key, value]) => [key.slice('environment.'.length), value]),
      );
      const { toHostUid, toHostGid } = runningOwners(running.init);
      return attach({ lxcPath: store.lxcPath, name, environment, searchPath, toHostUid, toHostGid }, request);
    },

    console: async (ref, size) => {
      const name = containerName(ref);
      store.getSetup(ref);
      getRunning(name);
      return joinConsole({ lxcPath: store.lxcPath, name, searchPath }, size);
    },

    readLog: async (ref, file) => {
      const name = containerName(ref);
      if (store.findSetup(name) === null) throw notFound('Instance');
      return readTail(store.logDir(name), file);
    },

    watch: (listener) =>
      watchEvents(
        {
          eventsDir,
          monitors,
          log,
          refOf: (name) => {
            const spec = store.findSetup(name)?.spec;
            return spec ? { project: spec.project, name: spec.name } : null;
          },
        },
        listener,
      ),
  };
}
