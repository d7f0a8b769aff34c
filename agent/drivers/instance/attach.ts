/** Running a program inside a running container, by lxc-attach. */
import { realpathSync } from 'node:fs';
import { badRequest } from '#protocol/errors.ts';
import { childrenOf, namespaceOf, sendSignal, waitUntil, zombieStatus } from '../../system/proc.ts';
import { type Spawned, type SpawnOptions, spawnPiped, spawnTerminal } from '../../system/spawn.ts';
import type { ExecProcess, ExecRequest } from './driver.ts';
import { createCarriageReturnFilter } from './terminal-output.ts';

export interface AttachTarget {
  lxcPath: string;
  name: string;
  /** Owner of the pipes as seen from the host. */
  toHostUid(id: number): number;
  toHostGid(id: number): number;
  /** `environment.*` of the instance. */
  environment: Record<string, string>;
  searchPath: string;
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_SIZE = { width: 80, height: 25 };
/** Goes to the directory when it is there, then becomes the program; nothing of the request is part of the script. */
const CHANGE_DIRECTORY = 'cd -- "$1" 2>/dev/null || cd /; shift; exec "$@"';
/** A signal sent before lxc-attach has its program waits for it so long. */
const PAYLOAD_WAIT_MS = 5000;
const ZOMBIE_CHECK_MS = 500;
const SIGKILL = 9;

function environmentOf(target: AttachTarget, request: ExecRequest): Record<string, string> {
  const defaults: Record<string, string> = { PATH: DEFAULT_PATH, LANG: 'C.UTF-8' };
  if (request.user === 0) Object.assign(defaults, { HOME: '/root', USER: 'root' });
  if (request.terminal !== null) defaults.TERM = 'xterm';
  return { ...defaults, ...target.environment, ...request.environment };
}

/**
 * lxc-attach has no option for the working directory, but goes to its own one inside. Where the host has a directory of
 * that very path this costs nothing; else a shell in the container changes to it.
 */
function workingDirectory(wanted: string): { cwd: string; wrapper: string[] } {
  try {
    if (realpathSync(wanted) === wanted) return { cwd: wanted, wrapper: [] };
  } catch {
    // The host has no such directory.
  }
  return { cwd: '/', wrapper: ['/bin/sh', '-c', CHANGE_DIRECTORY, 'sh', wanted] };
}

function attachArguments(target: AttachTarget, request: ExecRequest, environment: Record<string, string>): string[] {
  // Quiet: its own words have no place on the program's stderr; the exit code says that there is no such program.
  const args = ['-P', target.lxcPath, '-n', target.name, '--quiet', '--clear-env'];
  for (const [key, value] of Object.entries(environment)) {
    if (key === '' || /[=\0]/.test(key) || value.includes('\0')) {
      throw badRequest('Invalid environment: names may not be empty or contain "=" or null bytes');
    }
    args.push('-v', `${key}=${value}`);
  }
  return [...args, '-u', String(request.user), '-g', String(request.group), '--'];
}

/** The program: lxc-attach's child in the container's pid namespace. */
function findPayload(attachPid: number): number | null {
  const own = namespaceOf(attachPid, 'pid');
  if (own === null) return null;
  return childrenOf(attachPid).find((pid) => (namespaceOf(pid, 'pid') ?? own) !== own) ?? null;
}

function signalPayload(attachPid: number, signal: number): void {
  let payload: number | null = null;
  // Killing lxc-attach would leave the program running.
  const ready = () => {
    payload = findPayload(attachPid);
    return payload !== null || namespaceOf(attachPid, 'pid') === null;
  };
  waitUntil(ready, { timeoutMs: PAYLOAD_WAIT_MS }).then(
    () => payload !== null && sendSignal(payload, signal),
    () => {},
  );
}

/**
 * lxc-attach can hang for ever in a write to the terminal of a program that has died, and then its unreaped child keeps
 * the whole container from stopping. Ends such an lxc-attach; the answer is the program's own status.
 */
function superviseTerminal(spawned: Spawned): Promise<number> {
  let found: { pid: number; status: number } | null = null;
  const timer = setInterval(() => {
    const pid = findPayload(spawned.pid);
    const status = pid === null ? null : zombieStatus(pid);
    if (pid === null || status === null) return;
    // Seen twice, so it is not just about to be reaped.
    if (found?.pid === pid) sendSignal(spawned.pid, SIGKILL);
    found = { pid, status };
  }, ZOMBIE_CHECK_MS);
  return spawned.exited.then((code) => {
    clearInterval(timer);
    return code === 128 + SIGKILL && found !== null ? found.status : code;
  });
}

function withCarriageReturns(spawned: Spawned): Pick<ExecProcess, 'onOutput' | 'exited'> {
  const filter = createCarriageReturnFilter();
  let tell: Parameters<Spawned['onOutput']>[0] = () => {};
  return {
    onOutput: (listener) => {
      tell = listener;
      spawned.onOutput((channel, bytes) => {
        const clean = filter.push(bytes);
        if (clean.length > 0) listener(channel, clean);
      });
    },
    exited: superviseTerminal(spawned).then((code) => {
      const rest = filter.flush();
      if (rest.length > 0) tell('stdout', rest);
      return code;
    }),
  };
}

/** Starts the program. Throws `bad_request` for a command or environment that cannot be passed on. */
export function attach(target: AttachTarget, request: ExecRequest): ExecProcess {
  if (request.command.length === 0) throw badRequest('No command provided');
  if ([...request.command, request.cwd].some((part) => part.includes('\0'))) {
    throw badRequest('Command may not contain null bytes');
  }
  const environment = environmentOf(target, request);
  const { cwd, wrapper } = workingDirectory(request.cwd || environment.HOME || '/');
  const args = [...attachArguments(target, request, environment), ...wrapper, ...request.command];
  const options: SpawnOptions = { cwd, env: { PATH: target.searchPath, LC_ALL: 'C.UTF-8' } };
  const owner = { uid: target.toHostUid(request.user), gid: target.toHostGid(request.group) };
  const size = request.terminal && {
    width: request.terminal.width || DEFAULT_SIZE.width,
    height: request.terminal.height || DEFAULT_SIZE.height,
  };
  const spawned = size
    ? spawnTerminal('lxc-attach', args, { ...options, ...size })
    : spawnPiped('lxc-attach', args, { ...options, owner });
  return {
    ...spawned,
    ...(size ? withCarriageReturns(spawned) : {}),
    signal: (signal) => signalPayload(spawned.pid, signal),
  };
}
