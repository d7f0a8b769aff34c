/**
 * The image archives of this host, below `<dataDir>/images`.
 *
 * `<fingerprint>/` exists only when it is whole and verified: it is filled as `.<fingerprint>.part` and renamed.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageSource } from '#protocol/commands.ts';
import { badRequest, cancelled } from '#protocol/errors.ts';
import { isFingerprint } from '#protocol/names.ts';
import type { Log } from '../../log.ts';
import type { Exec } from '../../system/exec.ts';
import { errorCode, findPathKind, listDirectory } from '../../system/fs.ts';
import { readFormat, readUncompressed } from './archive.ts';
import { downloadParts } from './download.ts';
import type { FetchPart, FetchProgress, ImageStore } from './driver.ts';
import { readMetadata } from './metadata.ts';
import { unpackSquashfs } from './squashfs.ts';
import { unpackTar } from './tar-unpack.ts';

export interface ImageStoreDeps {
  exec: Exec;
  dataDir: string;
  fetchPart: FetchPart;
  log: Log;
}

/** One download and everybody who waits for it; it is given up when the last one has gone. */
interface SharedDownload {
  done: Promise<void>;
  listeners: Set<FetchProgress>;
  waiters: number;
  abort: AbortController;
}

/** Checks that the parts are those of a unified or a split image. */
function checkParts(image: ImageSource): { head: 'unified' | 'metadata'; split: boolean } {
  if (!isFingerprint(image.fingerprint)) throw badRequest('Invalid image fingerprint');
  const names = image.parts.map((part) => part.name).join('+');
  if (names === 'unified') return { head: 'unified', split: false };
  if (names === 'metadata+rootfs') return { head: 'metadata', split: true };
  throw badRequest(`Unsupported image parts "${names}"`);
}

async function openTar(path: string): Promise<AsyncIterable<Buffer>> {
  const format = await readFormat(path);
  if (format === 'squashfs') throw badRequest('Unsupported compression');
  return readUncompressed(path, format);
}

/** Resolves with the shared download, or rejects when this very caller gives up. */
async function waitUnlessAborted(done: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return done;
  if (signal.aborted) throw cancelled();
  let giveUp = () => {};
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(cancelled());
    signal.addEventListener('abort', giveUp, { once: true });
  });
  try {
    await Promise.race([done, aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

/** The store of this host; make one, since parallel downloads are shared inside it. */
export function createImageStore(deps: ImageStoreDeps): ImageStore {
  const root = join(deps.dataDir, 'images');
  const createdMs = Date.now();
  const downloads = new Map<string, SharedDownload>();
  let swept: Promise<void> | undefined;
  const partPath = (image: ImageSource, part: string) => join(root, image.fingerprint, part);

  async function isComplete(image: ImageSource): Promise<boolean> {
    for (const part of image.parts) {
      try {
        // A power cut can leave a renamed file without its data.
        if ((await stat(partPath(image, part.name))).size !== part.sizeBytes) return false;
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return false;
        throw error;
      }
    }
    return true;
  }

  /** Removes what downloads of an earlier process left half done. */
  async function sweep(): Promise<void> {
    for (const name of await listDirectory(root)) {
      if (!name.startsWith('.')) continue;
      const path = join(root, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && found.mtimeMs < createdMs) await rm(path, { recursive: true, force: true });
    }
  }

  async function download(image: ImageSource, shared: Pick<SharedDownload, 'listeners' | 'abort'>): Promise<void> {
    if (await isComplete(image)) return;
    swept ??= sweep();
    await swept;
    const temporary = join(root, `.${image.fingerprint}.part`);
    const target = join(root, image.fingerprint);
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    const progress: FetchProgress = (...news) => {
      for (const listener of shared.listeners) listener(...news);
    };
    try {
      await downloadParts({ fetchPart: deps.fetchPart, progress, signal: shared.abort.signal }, image, temporary);
      await rm(target, { recursive: true, force: true });
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw error;
    }
    deps.log.info('image.downloaded', { fingerprint: image.fingerprint });
  }

  function joinDownload(image: ImageSource): SharedDownload {
    const running = downloads.get(image.fingerprint);
    if (running !== undefined && !running.abort.signal.aborted) return running;
    const base = { listeners: new Set<FetchProgress>(), abort: new AbortController() };
    // One that was given up still has the temporary directory until it has ended.
    const before = running?.done.catch(() => {}) ?? Promise.resolve();
    const done = before.then(() => download(image, base));
    const shared: SharedDownload = { ...base, done, waiters: 0 };
    downloads.set(image.fingerprint, shared);
    const forget = () => {
      if (downloads.get(image.fingerprint) === shared) downloads.delete(image.fingerprint);
    };
    done.then(forget, forget);
    return shared;
  }

  return {
    async ensure(image, options = {}) {
      checkParts(image);
      if (options.signal?.aborted) throw cancelled();
      const shared = joinDownload(image);
      shared.waiters++;
      if (options.progress) shared.listeners.add(options.progress);
      try {
        await waitUnlessAborted(shared.done, options.signal);
      } finally {
        shared.waiters--;
        if (options.progress) shared.listeners.delete(options.progress);
        if (shared.waiters === 0) shared.abort.abort();
      }
    },

    async inspect(image) {
      return readMetadata(await openTar(partPath(image, checkParts(image).head)));
    },

    async unpack(image, directory) {
      const { head, split } = checkParts(image);
      if ((await readdir(directory)).length > 0) throw new Error(`${directory} is not empty`);
      await unpackTar(await openTar(partPath(image, head)), 'image', directory);
      const rootfs = join(directory, 'rootfs');
      if (split) {
        if ((await findPathKind(rootfs)) !== null) {
          throw badRequest('Invalid image archive: a metadata tarball with a root file system');
        }
        await mkdir(rootfs, { mode: 0o755 });
        const path = partPath(image, 'rootfs');
        const format = await readFormat(path);
        if (format === 'squashfs') await unpackSquashfs(deps, path, rootfs);
        else await unpackTar(readUncompressed(path, format), 'rootfs', rootfs);
      }
      if ((await findPathKind(join(directory, 'metadata.yaml'))) !== 'file') {
        throw badRequest('Metadata tarball has no metadata.yaml');
      }
      if ((await findPathKind(rootfs)) !== 'directory') throw badRequest('Image has no root file system');
    },

    async forget(fingerprint) {
      if (!isFingerprint(fingerprint)) throw badRequest('Invalid image fingerprint');
      await downloads.get(fingerprint)?.done.catch(() => {});
      await rm(join(root, fingerprint), { recursive: true, force: true });
    },
  };
}
