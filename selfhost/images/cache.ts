/** Built images are kept in `.longshore/cache/images`, by a hash of all that went into them. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { inState } from '../paths.ts';

/** A split LXD image: what `lxc image import METADATA ROOTFS` takes. */
export interface BuiltImage {
  metadata: string;
  rootfs: string;
}

const KEEP_PER_NAME = 2;

/** The recipe's hash: the same inputs give the same image, so the file of an earlier run serves. */
export const hashOf = (...parts: (string | Uint8Array)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
};

/**
 * The cached image of this name and hash, made by `build` when there is none. `build` gets an empty directory and leaves
 * `meta.tar.gz` and `rootfs.squashfs` in it; it may fail half-way, the cache only ever holds whole images.
 */
export async function ensureImage(
  name: string,
  hash: string,
  build: (dir: string) => Promise<void>,
): Promise<BuiltImage & { built: boolean }> {
  const cache = inState('cache', 'images');
  const dir = path.join(cache, `${name}-${hash}`);
  const files = { metadata: path.join(dir, 'meta.tar.gz'), rootfs: path.join(dir, 'rootfs.squashfs') };
  if (existsSync(files.rootfs)) {
    const now = new Date();
    utimesSync(dir, now, now);
    return { ...files, built: false };
  }
  mkdirSync(cache, { recursive: true });
  dropAbandoned(cache);
  const temporary = await mkdtemp(path.join(cache, `.${process.pid}-`));
  try {
    await build(temporary);
    if (!existsSync(files.rootfs)) await rename(temporary, dir);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  dropOld(cache, name, path.basename(dir));
  return { ...files, built: true };
}

/** What builds that were killed had got to. */
function dropAbandoned(cache: string): void {
  for (const entry of readdirSync(cache)) {
    const pid = /^\.(\d+)-/.exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(path.join(cache, entry), { recursive: true });
  }
}

function dropOld(cache: string, name: string, current: string): void {
  const others = readdirSync(cache).filter(
    (entry) => /^(.*)-[0-9a-f]{16}$/.exec(entry)?.[1] === name && entry !== current,
  );
  for (const entry of others.slice(0, Math.max(0, others.length - KEEP_PER_NAME + 1))) {
    rmSync(path.join(cache, entry), { recursive: true });
  }
}
