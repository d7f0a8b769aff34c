/** The `zfs` and `zpool` programs, spoken to in what zfs-fuse and every OpenZFS understand. */
import { setTimeout as delay } from 'node:timers/promises';
import { failed } from '#protocol/errors.ts';
import { type Exec, ExecError, type ExecResult } from '../../system/exec.ts';
import { findZfsModuleVersion } from './idmap-support.ts';

/** Importing or destroying a large pool takes long. */
const TIMEOUT_MS = 10 * 60_000;
/** Unmounting ends a moment after `umount` has returned, so that a destroy right after it is told "busy". */
const BUSY_TRIES = 40;

export type Properties = Record<string, string>;

export interface ZfsTool {
  /** Throws `failed` with a clear text when ZFS cannot be reached at all. */
  zfs(...args: string[]): Promise<ExecResult>;
  zpool(...args: string[]): Promise<ExecResult>;
  /** As `zfs`, again and again while the answer is "busy"; up to two seconds. */
  zfsWhenIdle(...args: string[]): Promise<void>;
  /** Properties of one dataset or snapshot; null when there is no such thing. Any other failure is thrown. */
  find(dataset: string, properties: readonly string[]): Promise<Properties | null>;
  /** Properties of a dataset and all below it, by name; empty when there is no such dataset. */
  findAll(dataset: string, properties: readonly string[]): Promise<Map<string, Properties>>;
}

/** Parses `zfs get -Hp -o name,property,value`. Values may hold tabs. */
export function parseProperties(text: string): Map<string, Properties> {
  const datasets = new Map<string, Properties>();
  for (const line of text.split('\n')) {
    const [name, property, ...value] = line.split('\t');
    if (name === undefined || property === undefined || value.length === 0) continue;
    const known = datasets.get(name) ?? {};
    known[property] = value.join('\t');
    datasets.set(name, known);
  }
  return datasets;
}

const says = (error: unknown, pattern: RegExp) => error instanceof ExecError && pattern.test(error.stderr);

/** True for "there is no such dataset", which is an answer. */
export const isAbsent = (error: unknown) => says(error, /dataset does not exist|no such pool/);
export const isBusy = (error: unknown) => says(error, /is busy|pool or dataset is busy/);
export const hasClones = (error: unknown) => says(error, /has dependent clones/);

function explain(error: unknown): unknown {
  const unreachable = /zfs-fuse daemon is running|ZFS modules (?:are not|cannot)|failed to initialize ZFS|\/dev\/zfs/;
  if (says(error, unreachable)) {
    return failed('Cannot reach ZFS: start the zfs-fuse service or load the zfs module', error);
  }
  if (error instanceof ExecError && error.exitCode === undefined && /ENOENT/.test(error.stderr)) {
    return failed(`Cannot reach ZFS: "${error.file}" is not installed`, error);
  }
  return error;
}

/** Beside zfs-fuse's own socket: one per daemon. */
const FUSE_LOCK = '/run/zfs/longshore.lock';
/**
 * The daemon closes the descriptor of a file system that is unmounted twice; the second time it may be that of a connection it
 * has just accepted. A question is asked again; whether anything else was done is for its caller to look.
 */
const RESET_TRIES = 4;
const isQuestion = (args: readonly string[]): boolean => args[0] === 'get' || args[0] === 'list';
const MOUNTING = new Set(['mount', 'create', 'clone', 'rename', 'import']);
const mayMount = (args: readonly string[]): boolean =>
  MOUNTING.has(args[0] ?? '') || args.some((arg) => arg.startsWith('mountpoint='));

/**
 * The tool over `exec`.
 *
 * zfs-fuse tells its listener of a new mount by two writes into a pipe: two mounts at once get mixed there, and then the
 * daemon never answers again, nor does anything that touches its file systems. So what may mount takes turns with it, by a
 * lock that the program itself holds: it goes on when the agent that started it was killed.
 */
export function createZfsTool(exec: Exec, findModuleVersion = findZfsModuleVersion): ZfsTool {
  async function run(file: string, args: string[], tries = RESET_TRIES): Promise<ExecResult> {
    const inTurn = mayMount(args) && (await findModuleVersion()) === null;
    try {
      if (!inTurn) return await exec(file, args, { timeoutMs: TIMEOUT_MS });
      return await exec('flock', ['--no-fork', FUSE_LOCK, file, ...args], { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      if (tries > 1 && isQuestion(args) && says(error, /Connection reset by peer/))
        return await run(file, args, tries - 1);
      throw explain(error instanceof ExecError && inTurn ? new ExecError(file, error.exitCode, error.stderr) : error);
    }
  }
  const zfs = (...args: string[]) => run('zfs', args);

  async function query(flags: string, dataset: string, properties: readonly string[]) {
    try {
      const { stdout } = await zfs('get', flags, '-o', 'name,property,value', properties.join(','), dataset);
      return parseProperties(stdout);
    } catch (error) {
      if (isAbsent(error)) return new Map<string, Properties>();
      throw error;
    }
  }

  return {
    zfs,
    zpool: (...args) => run('zpool', args),
    async zfsWhenIdle(...args) {
      for (let tries = 1; ; tries++) {
        try {
          await zfs(...args);
          return;
        } catch (error) {
          if (!isBusy(error) || tries >= BUSY_TRIES) throw error;
          await delay(Math.min(5 * tries, 100));
        }
      }
    },
    find: async (dataset, properties) => (await query('-Hp', dataset, properties)).get(dataset) ?? null,
    findAll: (dataset, properties) => query('-Hpr', dataset, properties),
  };
}
