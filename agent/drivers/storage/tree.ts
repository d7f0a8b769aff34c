/**
 * Volumes that are directory trees of one mounted file system: what `dir` and `btrfs` share.
 *
 * A volume is made under a name with a dot in front and renamed when it is whole, so that what has its right name is
 * complete. `origins/<volume>` says which image an instance was made of; it is written first and counts only with its volume.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { PoolSpec } from '#protocol/commands.ts';
import { conflict, failed, notFound } from '#protocol/errors.ts';
import { errorCode, findPathKind, listDirectory, readFileSystemUsage } from '../../system/fs.ts';
import { createKeyedLock } from '../../system/lock.ts';
import type { Carry, StorageDriver } from './driver.ts';
import { pathTakesIdmap } from './idmap-support.ts';
import { checkImage, checkVolume, closeVolume, makePassage, type PoolLayout } from './layout.ts';
import type { RootedPool } from './rooted-pool.ts';
import { createTreeVolumes } from './tree-custom.ts';

/** What differs between file systems. Paths are the pool's own; nothing here follows a symbolic link. */
export interface TreeFileSystem {
  /** An empty volume. */
  make(path: string): Promise<void>;
  copy(from: string, to: string): Promise<void>;
  /** Removes the volume with all it holds; absent is fine. */
  remove(path: string): Promise<void>;
  /** Puts a filled image on the disk for good and makes it read-only where the file system can. */
  seal(path: string): Promise<void>;
  /** Bytes the volume refers to; 0 where only a walk through it could tell. */
  usage(path: string): Promise<number>;
  setQuota(path: string, sizeBytes: number | null): Promise<void>;
  /** Gives the volume to `carry` as a stream that `receive` understands. What is at `scratch` goes when the pool is opened. */
  send(path: string, scratch: string, carry: Carry): Promise<void>;
  /** Makes the volume `path` out of such a stream, whole or not; what is left at `scratch` goes when the pool is opened. */
  receive(path: string, scratch: string, content: Readable): Promise<void>;
  quota: boolean;
}

/** The place of an unfinished or dying volume: beside the finished ones, under a name no volume has. */
const hidden = (path: string, what: 'new' | 'old' | 'send' | 'receive') =>
  join(dirname(path), `.${what}-${path.slice(dirname(path).length + 1)}`);
const NO_IMAGE = 'none';

/** A driver over a mounted pool and the volumes of its file system. */
export function createTreeDriver(
  pool: PoolSpec,
  layout: PoolLayout,
  rooted: RootedPool,
  trees: TreeFileSystem,
): StorageDriver {
  const lock = createKeyedLock();
  /** Volumes that were made here without a limit and never got one: most starts of an instance ask for just that. */
  const unlimited = new Set<string>();
  const exists = async (path: string) => (await findPathKind(path)) === 'directory';
  const originPath = (name: string) => join(layout.origins, checkVolume(name));

  async function requireVolume(name: string): Promise<string> {
    const path = layout.instance(name);
    if (!(await exists(path))) throw notFound('Storage volume');
    return path;
  }

  async function readOrigin(name: string): Promise<string | null> {
    try {
      return await readFile(originPath(name), 'utf8');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return null;
      throw error;
    }
  }

  /** Makes a volume whole or not at all. */
  async function build(path: string, fill: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = hidden(path, 'new');
    await trees.remove(temporary);
    try {
      await fill(temporary);
      await rename(temporary, path);
    } catch (error) {
      await trees.remove(temporary).catch(() => {});
      throw error;
    }
  }

  /** Takes the volume's name away first, so that a crash leaves nothing that looks whole. */
  async function discard(path: string): Promise<void> {
    const dying = hidden(path, 'old');
    await trees.remove(dying);
    if ((await findPathKind(path)) === null) return;
    await rename(path, dying);
    await trees.remove(dying);
  }

  async function createVolume(name: string, fingerprint: string | null): Promise<string> {
    const path = layout.instance(name);
    const origin = fingerprint ?? NO_IMAGE;
    if (await exists(path)) {
      if ((await readOrigin(name)) !== origin) throw conflict(`Storage volume "${name}" already exists`);
      return path;
    }
    const image = fingerprint === null ? null : layout.image(fingerprint);
    if (image !== null && !(await exists(image))) throw notFound('Image');
    await writeFile(originPath(name), origin, { mode: 0o600 });
    await build(path, async (temporary) => {
      if (image !== null) return trees.copy(image, temporary);
      await trees.make(temporary);
      await mkdir(join(temporary, 'rootfs'), { mode: 0o755 });
      await closeVolume(temporary);
    });
    unlimited.add(name);
    return path;
  }

  async function renameVolume(name: string, newName: string): Promise<void> {
    const [from, to] = [layout.instance(name), layout.instance(newName)];
    for (const either of [name, newName]) unlimited.delete(either);
    const [fromThere, toThere] = [await exists(from), await exists(to)];
    if (fromThere && toThere) throw conflict(`Storage volume "${newName}" already exists`);
    if (!fromThere && !toThere) throw notFound('Storage volume');
    if (fromThere) {
      await writeFile(originPath(newName), (await readOrigin(name)) ?? NO_IMAGE, { mode: 0o600 });
      await rename(from, to);
    }
    await rm(originPath(name), { force: true });
  }

  /** Made of no image here: what it was made from stays behind. */
  async function receiveVolume(name: string, content: Readable): Promise<string> {
    const path = layout.instance(name);
    if (await exists(path)) throw conflict(`Storage volume "${name}" already exists`);
    await writeFile(originPath(name), NO_IMAGE, { mode: 0o600 });
    await build(path, async (temporary) => {
      await trees.receive(temporary, hidden(path, 'receive'), content);
      await closeVolume(temporary);
    });
    return path;
  }

  async function copyVolume(name: string, newName: string): Promise<string> {
    const [from, to] = [await requireVolume(name), layout.instance(newName)];
    if (await exists(to)) throw conflict(`Storage volume "${newName}" already exists`);
    await writeFile(originPath(newName), NO_IMAGE, { mode: 0o600 });
    await build(to, (temporary) => trees.copy(from, temporary));
    return to;
  }

  async function makeDirectories(): Promise<void> {
    for (const path of [layout.containers, layout.images, layout.custom]) await makePassage(path);
    await mkdir(layout.origins, { recursive: true, mode: 0o700 });
  }

  /** Removes what a crash left unfinished. Nothing else may use the pool meanwhile. */
  async function sweep(): Promise<void> {
    for (const directory of [layout.containers, layout.images, layout.custom]) {
      for (const name of await listDirectory(directory)) {
        if (name.startsWith('.')) await trees.remove(join(directory, name));
      }
    }
  }

  const visible = async (directory: string) => (await listDirectory(directory)).filter((name) => !name.startsWith('.'));

  return {
    pool,
    custom: createTreeVolumes({ pool: pool.name, layout, rooted, trees, lock, build, discard }),
    transfer: {
      send: (name, carry) =>
        lock.run(`instance:${checkVolume(name)}`, async () => {
          const path = await requireVolume(name);
          await trees.send(path, hidden(path, 'send'), carry);
        }),
      receive: (name, content) => lock.run(`instance:${checkVolume(name)}`, () => receiveVolume(name, content)),
      copy: (name, newName) => lock.run(`instance:${checkVolume(newName)}`, () => copyVolume(name, newName)),
    },
    createPool: () =>
      lock.run('pool', async () => {
        const config = await rooted.create();
        await makeDirectories();
        return config;
      }),
    openPool: () =>
      lock.run('pool', async () => {
        await rooted.open();
        await makeDirectories();
        await sweep();
      }),
    growPool: (sizeBytes) =>
      lock.run('pool', async () => {
        if (!(await rooted.isOpen())) throw failed(`Storage pool "${pool.name}" is not mounted`);
        await rooted.grow(sizeBytes);
      }),
    deletePool: () =>
      lock.run('pool', async () => {
        if (await rooted.isOpen()) {
          const [leftover] = [...(await visible(layout.containers)), ...(await visible(layout.custom))];
          if (leftover !== undefined) throw failed(`Storage pool has leftover volumes: ${leftover}`);
          for (const name of await visible(layout.images)) await discard(join(layout.images, name));
          await sweep();
          for (const path of [layout.containers, layout.images, layout.custom, layout.origins]) {
            await rm(path, { recursive: true, force: true });
          }
        }
        await rooted.delete();
      }),
    capabilities: async () => ({ idmap: await pathTakesIdmap(layout.mount), quota: trees.quota }),
    async poolUsage() {
      const { usedBytes, totalBytes, inodes } = await readFileSystemUsage(layout.mount);
      return { usedBytes, totalBytes, inodes };
    },

    ensureImage: async (fingerprint, unpack) =>
      lock.run(`image:${checkImage(fingerprint)}`, async () => {
        const path = layout.image(fingerprint);
        if (await exists(path)) return;
        await build(path, async (temporary) => {
          await trees.make(temporary);
          await unpack(temporary);
          await closeVolume(temporary);
          await trees.seal(temporary);
        });
      }),
    hasImage: async (fingerprint) => exists(layout.image(fingerprint)),
    // Copies and snapshots do not need what they were made from.
    deleteImage: async (fingerprint) =>
      lock.run(`image:${checkImage(fingerprint)}`, () => discard(layout.image(fingerprint))),

    createInstanceVolume: async (name, fingerprint) =>
      lock.run(`instance:${checkVolume(name)}`, () => createVolume(name, fingerprint)),
    mountInstanceVolume: async (name) => {
      if (!(await rooted.isOpen())) throw failed(`Storage pool "${pool.name}" is not mounted`);
      return requireVolume(name);
    },
    unmountInstanceVolume: async (name) => void layout.instance(name),
    async renameInstanceVolume(name, newName) {
      const [first, second] = [checkVolume(name), checkVolume(newName)].sort();
      if (name === newName) return;
      await lock.run(`instance:${first}`, () => lock.run(`instance:${second}`, () => renameVolume(name, newName)));
    },
    deleteInstanceVolume: async (name) =>
      lock.run(`instance:${checkVolume(name)}`, async () => {
        unlimited.delete(name);
        await discard(layout.instance(name));
        await rm(originPath(name), { force: true });
      }),
    listInstanceVolumes: () => visible(layout.containers),
    instanceVolumeUsage: async (name) => trees.usage(await requireVolume(name)),
    async setQuota(name, sizeBytes) {
      const path = await requireVolume(name);
      if (sizeBytes === null && unlimited.has(name)) return;
      unlimited.delete(name);
      await trees.setQuota(path, sizeBytes);
      if (sizeBytes === null) unlimited.add(name);
    },
  };
}
