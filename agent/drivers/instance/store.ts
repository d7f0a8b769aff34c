/** Where an instance's files are on the host, and its set-up as it was last configured. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type InstanceRef, InstanceSpec } from '#protocol/commands.ts';
import { badRequest, notFound } from '#protocol/errors.ts';
import { checkInstanceName, checkProjectName, hostName } from '#protocol/names.ts';
import type { InstanceSetup } from './driver.ts';

const Setup: z.ZodType<InstanceSetup> = z.object({
  spec: InstanceSpec,
  volumePath: z.string(),
  idmap: z.boolean(),
  nics: z.array(
    z.object({
      device: z.string(),
      name: z.string(),
      hwaddr: z.string(),
      hostName: z.string(),
      attachment: z.object({
        bridge: z.string(),
        mtu: z.number(),
        ipv4: z.string().nullable(),
        ipv4Gateway: z.string().nullable(),
        ipv6: z.string().nullable(),
        ipv6Gateway: z.string().nullable(),
      }),
    }),
  ),
});

const SETUP_FILE = 'setup.json';

/**
 * Replaces a file at once: a reader, or the next boot, sees the old or the new one. One that holds the text already is left
 * alone: file systems write the old data out before they replace it.
 */
export function writeAtomically(path: string, text: string, mode = 0o600): void {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  writeFileSync(`${path}.tmp`, text, { mode });
  renameSync(`${path}.tmp`, path);
}

/** The container's name on this host. Throws `bad_request` for a name that could be anything but a name. */
export function containerName(ref: InstanceRef): string {
  const refusal = checkInstanceName(ref.name) ?? checkProjectName(ref.project);
  if (refusal !== null) throw badRequest(refusal);
  return hostName(ref.project, ref.name);
}

export interface InstanceStore {
  /** liblxc's `-P`: also part of the abstract socket its tools talk over. */
  lxcPath: string;
  configPath(name: string): string;
  logDir(name: string): string;
  pidFile(name: string): string;
  findSetup(name: string): InstanceSetup | null;
  /** Throws `not_found`. */
  getSetup(ref: InstanceRef): InstanceSetup;
  writeSetup(setup: InstanceSetup): void;
  names(): string[];
  remove(name: string): void;
  rename(name: string, newName: string): void;
}

/** The instances' directories below `dataDir`, `runDir` and `logDir`. */
export function createStore(dirs: { dataDir: string; runDir: string; logDir: string }): InstanceStore {
  const lxcPath = join(dirs.dataDir, 'containers');
  const directory = (name: string) => join(lxcPath, name);
  const logDir = (name: string) => join(dirs.logDir, name);
  const pidFile = (name: string) => join(dirs.runDir, 'instances', `${name}.pid`);
  /** What was read last, by its text: it is read many times between two changes. */
  const known = new Map<string, { text: string; setup: InstanceSetup }>();
  const findSetup = (name: string) => {
    const path = join(directory(name), SETUP_FILE);
    if (!existsSync(path)) return null;
    const text = readFileSync(path, 'utf8');
    const last = known.get(name);
    if (last?.text === text) return last.setup;
    const setup = Setup.parse(JSON.parse(text));
    known.set(name, { text, setup });
    return setup;
  };
  return {
    lxcPath,
    configPath: (name) => join(directory(name), 'config'),
    logDir,
    pidFile,
    findSetup,
    getSetup: (ref) => {
      const setup = findSetup(containerName(ref));
      if (setup === null) throw notFound('Instance');
      return setup;
    },
    writeSetup: (setup) => {
      const path = directory(containerName(setup.spec));
      mkdirSync(path, { recursive: true, mode: 0o711 });
      writeAtomically(join(path, SETUP_FILE), JSON.stringify(setup));
    },
    names: () => {
      if (!existsSync(lxcPath)) return [];
      return readdirSync(lxcPath).filter((name) => existsSync(join(lxcPath, name, SETUP_FILE)));
    },
    remove: (name) => {
      known.delete(name);
      rmSync(directory(name), { recursive: true, force: true });
      rmSync(logDir(name), { recursive: true, force: true });
      rmSync(pidFile(name), { force: true });
    },
    rename: (name, newName) => {
      known.delete(name);
      renameSync(directory(name), directory(newName));
      if (existsSync(logDir(name))) renameSync(logDir(name), logDir(newName));
    },
  };
}
