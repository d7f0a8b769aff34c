/**
 * Which release of the agent runs on this host. The installation (a package, a clone) is the base and is never touched; an
 * upgrade lies beside the agent's data, and one small file says that it is the one to start.
 *
 *     <dataDir>/agent/release.json       what to start, and how that went
 *     <dataDir>/agent/<sha256>.mjs       the release
 *     <dataDir>/agent/node_modules       a link to the base's packages with native parts
 *
 * Invariants. A new release is on trial until it has been welcomed by the control plane; one that twice did not get there is
 * not started again, and the one before it, a good release or the base, runs on. A base that was itself replaced meanwhile wins:
 * somebody installed it later.
 */
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { writeWhole } from '../join/files.ts';

/** The first start may have met a control plane that was away. */
const TRIES = 2;

const Release = z.object({ path: z.string(), sha256: z.string(), version: z.string() });

const Pointer = Release.extend({
  state: z.enum(['trial', 'good', 'failed']),
  tries: z.number().int(),
  /** The good release before it; null: the base. */
  previous: Release.nullable(),
  /** SHA-256 of the last one that did not work. */
  failed: z.string().nullable(),
  /** SHA-256 of the installation that the release stands over. */
  base: z.string(),
});
export type Pointer = z.infer<typeof Pointer>;

/** The program that runs: one file when bundled. */
export const ownPath = (): string => fileURLToPath(import.meta.url);

export const sha256Of = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

const folderOf = (dataDir: string) => join(dataDir, 'agent');
const pointerOf = (dataDir: string) => join(folderOf(dataDir), 'release.json');

/** Where a release of this content lies. */
export const releasePath = (dataDir: string, sha256: string): string => join(folderOf(dataDir), `${sha256}.mjs`);

/** Null when there is none, or it cannot be read: then the base runs. */
export function readPointer(dataDir: string): Pointer | null {
  try {
    return Pointer.parse(JSON.parse(readFileSync(pointerOf(dataDir), 'utf8')));
  } catch {
    return null;
  }
}

const writePointer = (dataDir: string, pointer: Pointer) =>
  writeWhole(pointerOf(dataDir), `${JSON.stringify(pointer, null, 2)}\n`, 0o600);

/** The release to start instead of `base`, this program; null: `base` itself. Counts the start of one on trial. */
export function chooseRelease(dataDir: string, base: string = ownPath()): string | null {
  const pointer = readPointer(dataDir);
  if (pointer === null || pointer.path === base || pointer.state === 'failed') return null;
  if (pointer.base !== sha256Of(base)) {
    rmSync(pointerOf(dataDir), { force: true });
    return null;
  }
  const isWhole = existsSync(pointer.path) && sha256Of(pointer.path) === pointer.sha256;
  if (!isWhole || (pointer.state === 'trial' && pointer.tries >= TRIES)) {
    failRelease(dataDir);
    return chooseRelease(dataDir, base);
  }
  if (pointer.state === 'trial') writePointer(dataDir, { ...pointer, tries: pointer.tries + 1 });
  return pointer.path;
}

/** The release does not work here: the one before is the one to start. */
export function failRelease(dataDir: string): void {
  const pointer = readPointer(dataDir);
  if (pointer === null) return;
  const { base, previous, sha256: failed } = pointer;
  if (previous === null) writePointer(dataDir, { ...pointer, state: 'failed', failed });
  else writePointer(dataDir, { ...previous, state: 'good', tries: 0, previous: null, failed, base });
}

/** This program is on trial: it has not been welcomed yet. */
export const isOnTrial = (dataDir: string, own: string = ownPath()): boolean => {
  const pointer = readPointer(dataDir);
  return pointer !== null && pointer.path === own && pointer.state === 'trial';
};

/** This program has been welcomed: it stays. Older releases go. */
export function confirmRelease(dataDir: string, own: string = ownPath()): void {
  const pointer = readPointer(dataDir);
  if (pointer === null || pointer.path !== own || pointer.state !== 'trial') return;
  writePointer(dataDir, { ...pointer, state: 'good', previous: null });
  for (const name of readdirSync(folderOf(dataDir))) {
    if (name.endsWith('.mjs') && join(folderOf(dataDir), name) !== pointer.path) {
      rmSync(join(folderOf(dataDir), name), { force: true });
    }
  }
}

/** Puts a verified release on trial, from the next start on. */
export function pointTo(
  dataDir: string,
  { sha256, version }: { sha256: string; version: string },
  own: string = ownPath(),
): void {
  const current = readPointer(dataDir);
  // A release that is followed by another stands over the same base as before.
  const running = current !== null && current.path === own ? current : null;
  const previous = running === null ? null : { path: own, sha256: running.sha256, version: running.version };
  const base = running?.base ?? sha256Of(own);
  const path = releasePath(dataDir, sha256);
  writePointer(dataDir, { path, sha256, version, base, state: 'trial', tries: 0, previous, failed: null });
}

/** The folder for releases, from where the base's native packages are found. */
export function ensureReleaseFolder(dataDir: string): string {
  const folder = folderOf(dataDir);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const link = join(folder, 'node_modules');
  const packages = findPackages(dirname(ownPath()));
  if (packages === null || packages === link) return folder;
  if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) rmSync(link, { force: true });
  symlinkSync(packages, link);
  return folder;
}

function findPackages(from: string): string | null {
  for (let directory = from; ; directory = dirname(directory)) {
    const packages = join(directory, 'node_modules');
    if (existsSync(join(packages, 'koffi'))) return packages;
    if (directory === dirname(directory)) return null;
  }
}
