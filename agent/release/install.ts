/** Getting a release onto this host: downloaded over the judged connection, verified, tried, and only then in place. */
import { createHash } from 'node:crypto';
import { createWriteStream, renameSync, rmSync } from 'node:fs';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { failed } from '#protocol/errors.ts';
import type { Exec } from '../system/exec.ts';
import { ensureReleaseFolder, pointTo, releasePath } from './store.ts';

/** Printing its version loads the whole program. */
const PROBE_MS = 30_000;

export interface ReleaseOffer {
  version: string;
  sha256: string;
  sizeBytes: number;
}

export interface InstallDeps {
  exec: Exec;
  dataDir: string;
  /** Throws `unavailable` when the control plane is away or has no such release any more. */
  fetchRelease(sha256: string, signal: AbortSignal): Promise<Readable>;
}

/**
 * Downloads, verifies and tries the release, and makes it the one that starts next. Throws with nothing changed: content that
 * is not what was offered, or a program that does not even say its version.
 */
export async function installRelease(deps: InstallDeps, offer: ReleaseOffer, signal: AbortSignal): Promise<void> {
  const { dataDir } = deps;
  ensureReleaseFolder(dataDir);
  const path = releasePath(dataDir, offer.sha256);
  // Node tells a module by the ending.
  const temporary = path.replace(/\.mjs$/, '.new.mjs');
  try {
    await download(deps, offer, temporary, signal);
    await probe(deps.exec, temporary);
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
  pointTo(dataDir, offer);
}

async function download(deps: InstallDeps, offer: ReleaseOffer, path: string, signal: AbortSignal): Promise<void> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measured = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sizeBytes += chunk.length;
      if (sizeBytes > offer.sizeBytes) return done(failed('The release is larger than was said'));
      hash.update(chunk);
      done(null, chunk);
    },
  });
  const content = await deps.fetchRelease(offer.sha256, signal);
  await pipeline(content, measured, createWriteStream(path, { mode: 0o600 }), { signal });
  const seen = hash.digest('hex');
  if (seen === offer.sha256) return;
  throw failed(`The release that came is not the one that was offered (its SHA-256 is ${seen}): nothing was changed`);
}

async function probe(exec: Exec, path: string): Promise<void> {
  try {
    await exec(process.execPath, [path, 'version'], { timeoutMs: PROBE_MS });
  } catch (cause) {
    throw failed('The new agent does not start on this host: nothing was changed', cause);
  }
}
