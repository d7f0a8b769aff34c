/**
 * ZFS: an image is a dataset with the snapshot `@readonly`, whose existence means that it is complete; an instance is a
 * clone of it. An image deleted before its clones is marked `longshore:deleted` and dropped with the last of them. It is not
 * renamed aside: zfs-fuse unmounts every clone to rename what it was made of.
 *
 * Everything has `canmount=noauto`: the agent mounts what it needs.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { PoolSpec } from '#protocol/commands.ts';
import { conflict, failed, notFound } from '#protocol/errors.ts';
import { isFingerprint } from '#protocol/names.ts';
import { removeEmptyDirectory } from '../../system/fs.ts';
import { createKeyedLock } from '../../system/lock.ts';
import { findMount } from '../../system/mounts.ts';
import type { StorageDriver } from './driver.ts';
import { hostZfsTakesIdmap } from './idmap-support.ts';
import { checkImage, checkVolume, closeVolume, createLayout, makePassage, type StorageDeps } from './layout.ts';
import { createZfsVolumes } from './zfs-custom.ts';
import { createZfsPool } from './zfs-pool.ts';
import { createZfsTool, hasClones } from './zfs-tool.ts';
import { createZfsTransfer } from './zfs-transfer.ts';

/** Set on a deleted image that still has clones; its snapshot inherits it. */
const DELETED = 'longshore:deleted';

/** The driver for `pool`, which need not exist yet. Throws `bad_request` for keys or names it cannot use. */
export function createZfsDriver(deps: StorageDeps, pool: PoolSpec): StorageDriver {
  const tool = createZfsTool(deps.exec);
  const layout = createLayout(deps.dataDir, pool.name);
  const zpool = createZfsPool({ ...deps, tool }, pool, layout);
  const lock = createKeyedLock();
  const { root } = zpool;

  const imageDataset = (fingerprint: string) => `${root}/images/${checkImage(fingerprint)}`;
  const instanceDataset = (name: string) => `${root}/containers/${checkVolume(name)}`;
  const isMounted = async (dataset: string, path: string) => (await findMount(path))?.source === dataset;

  /** Mounts `dataset` at `path`; throws `not_found` when there is none. */
  async function mount(dataset: string, path: string): Promise<void> {
    if (await isMounted(dataset, path)) return denyDevices(path);
    const found = await tool.find(dataset, ['mountpoint']);
    if (found === null) throw notFound('Storage volume');
    await makePassage(path);
    if (found.mountpoint !== path) await tool.zfs('set', `mountpoint=${path}`, dataset);
    try {
      // Right after an unmount it is "busy" as well.
      await tool.zfsWhenIdle('mount', dataset);
    } catch (error) {
      // zfs-fuse mounts by itself when a clone or a mount point is made.
      if (!(await isMounted(dataset, path))) throw error;
    }
    await denyDevices(path);
  }

  /** zfs-fuse keeps `devices=off` and mounts without `nodev` all the same. */
  async function denyDevices(path: string): Promise<void> {
    if ((await findMount(path))?.options.includes('nodev')) return;
    await deps.exec('mount', ['-o', 'remount,bind,nodev', '--', path]);
  }

  async function unmount(dataset: string, path: string): Promise<void> {
    if (!(await isMounted(dataset, path))) return;
    try {
      await tool.zfsWhenIdle('unmount', dataset);
    } catch (error) {
      if (await isMounted(dataset, path)) throw failed(`Failed unmounting storage volume: ${path} is in use`, error);
    }
  }

  /** Destroys a dataset with its snapshots and mount point; absent is fine. */
  async function destroy(dataset: string, path: string): Promise<void> {
    await unmount(dataset, path);
    if ((await tool.find(dataset, ['type'])) !== null) await tool.zfsWhenIdle('destroy', '-r', dataset);
    await removeEmptyDirectory(path);
  }

  const snapshotOf = (fingerprint: string) => `${imageDataset(fingerprint)}@readonly`;

  /** `whole`: there to be cloned; `deleted`: whole, but hidden; `absent`: not there, or half made. */
  async function findImage(fingerprint: string): Promise<'whole' | 'deleted' | 'absent'> {
    const found = await tool.find(snapshotOf(fingerprint), [DELETED]);
    if (found === null) return 'absent';
    return found[DELETED] === 'yes' ? 'deleted' : 'whole';
  }

  const hasImage = async (fingerprint: string) => (await findImage(fingerprint)) === 'whole';

  /** Asked before a destruction is tried: one that fails might have unmounted clones already. */
  async function isCloned(fingerprint: string): Promise<boolean> {
    const containers = await tool.findAll(`${root}/containers`, ['origin']);
    return [...containers.values()].some((found) => found.origin === snapshotOf(fingerprint));
  }

  /** Destroys an image without clones, marks one with clones. */
  async function removeImage(fingerprint: string): Promise<void> {
    if (!(await isCloned(fingerprint))) {
      try {
        await destroy(imageDataset(fingerprint), layout.image(fingerprint));
        return;
      } catch (error) {
        // Cloned a moment ago.
        if (!hasClones(error)) throw error;
      }
    }
    await tool.zfs('set', `${DELETED}=yes`, imageDataset(fingerprint));
  }

  /** Fills and seals the image; the caller removes what is left of a failure. */
  async function makeImage(fingerprint: string, unpack: (directory: string) => Promise<void>): Promise<void> {
    const dataset = imageDataset(fingerprint);
    const path = layout.image(fingerprint);
    await tool.zfs('create', '-o', `mountpoint=${path}`, '-o', 'canmount=noauto', dataset);
    await mount(dataset, path);
    await unpack(path);
    await closeVolume(path);
    // zfs-fuse writes what it holds back when it unmounts: the snapshot comes after.
    await unmount(dataset, path);
    await tool.zfs('snapshot', snapshotOf(fingerprint));
    await removeEmptyDirectory(path);
  }

  /** Drops a deleted image that no instance is made of any more. */
  const dropIfUnused = (fingerprint: string) =>
    lock.run(`image:${fingerprint}`, async () => {
      if ((await findImage(fingerprint)) === 'deleted') await removeImage(fingerprint);
    });

  async function sweepDeleted(): Promise<void> {
    for (const [dataset, found] of await tool.findAll(`${root}/images`, [DELETED])) {
      const fingerprint = dataset.slice(`${root}/images/`.length);
      if (found[DELETED] === 'yes' && isFingerprint(fingerprint)) await dropIfUnused(fingerprint);
    }
  }

  async function createVolume(name: string, fingerprint: string | null): Promise<string> {
    const dataset = instanceDataset(name);
    const path = layout.instance(name);
    const existing = await tool.find(dataset, ['origin']);
    if (existing !== null) {
      const origin = fingerprint === null ? '-' : snapshotOf(fingerprint);
      if ((existing.origin || '-') !== origin) throw conflict(`Storage volume "${name}" already exists`);
    } else {
      const options = ['-o', `mountpoint=${path}`, '-o', 'canmount=noauto'];
      if (fingerprint === null) await tool.zfs('create', ...options, dataset);
      else {
        if (!(await hasImage(fingerprint))) throw notFound('Image');
        await tool.zfs('clone', ...options, snapshotOf(fingerprint), dataset);
      }
    }
    await mount(dataset, path);
    if (fingerprint === null) {
      await mkdir(join(path, 'rootfs'), { recursive: true });
      await closeVolume(path);
    }
    return path;
  }

  async function renameVolume(name: string, newName: string): Promise<void> {
    const [from, to] = [instanceDataset(name), instanceDataset(newName)];
    const fromThere = (await tool.find(from, ['type'])) !== null;
    const toThere = (await tool.find(to, ['type'])) !== null;
    if (fromThere && toThere) throw conflict(`Storage volume "${newName}" already exists`);
    if (!fromThere && !toThere) throw notFound('Storage volume');
    const path = layout.instance(newName);
    if (fromThere) {
      const wasMounted = await isMounted(from, layout.instance(name));
      await unmount(from, layout.instance(name));
      await tool.zfsWhenIdle('rename', from, to);
      await tool.zfs('set', `mountpoint=${path}`, to);
      if (wasMounted || (await isMounted(to, path))) await mount(to, path);
    }
    await removeEmptyDirectory(layout.instance(name));
  }

  const { sweepSends, ...transfer } = createZfsTransfer({
    ...{ root, layout, tool, lock, mount, unmount, destroy },
    sync: async (path) => void (await deps.exec('sync', ['--file-system', path])),
  });

  return {
    pool,
    transfer,
    custom: createZfsVolumes({ root, layout, tool, lock, mount, unmount, destroy }),
    createPool: () => lock.run('pool', () => zpool.create()),
    openPool: () =>
      lock.run('pool', async () => {
        await zpool.open();
        await sweepDeleted();
        await sweepSends();
      }),
    growPool: (sizeBytes) => lock.run('pool', () => zpool.grow(sizeBytes)),
    deletePool: () => lock.run('pool', () => zpool.delete()),
    capabilities: async () => ({ idmap: await hostZfsTakesIdmap(), quota: true }),

    async poolUsage() {
      const found = await tool.find(root, ['used', 'available']);
      if (found === null) throw notFound('Storage pool');
      const usedBytes = Number(found.used);
      return { usedBytes, totalBytes: usedBytes + Number(found.available), inodes: { used: 0, total: 0 } };
    },

    ensureImage: async (fingerprint, unpack) =>
      lock.run(`image:${checkImage(fingerprint)}`, async () => {
        const known = await findImage(fingerprint);
        if (known === 'whole') return;
        const dataset = imageDataset(fingerprint);
        const path = layout.image(fingerprint);
        if (known === 'deleted') {
          await tool.zfs('inherit', DELETED, dataset);
          return;
        }
        await destroy(dataset, path);
        try {
          await makeImage(fingerprint, unpack);
        } catch (error) {
          await destroy(dataset, path).catch((reason: unknown) =>
            deps.log.warn('storage.image.leftover', { pool: pool.name, fingerprint, err: reason }),
          );
          throw error;
        }
      }),
    hasImage,
    deleteImage: async (fingerprint) => lock.run(`image:${checkImage(fingerprint)}`, () => removeImage(fingerprint)),

    createInstanceVolume: async (name, fingerprint) =>
      lock.run(`instance:${checkVolume(name)}`, () => createVolume(name, fingerprint)),
    mountInstanceVolume: async (name) =>
      lock.run(`instance:${checkVolume(name)}`, async () => {
        await mount(instanceDataset(name), layout.instance(name));
        return layout.instance(name);
      }),
    unmountInstanceVolume: async (name) =>
      lock.run(`instance:${checkVolume(name)}`, () => unmount(instanceDataset(name), layout.instance(name))),
    async renameInstanceVolume(name, newName) {
      const [first, second] = [checkVolume(name), checkVolume(newName)].sort();
      if (name === newName) return;
      await lock.run(`instance:${first}`, () => lock.run(`instance:${second}`, () => renameVolume(name, newName)));
    },
    async deleteInstanceVolume(name) {
      const origin = await lock.run(`instance:${checkVolume(name)}`, async () => {
        const found = await tool.find(instanceDataset(name), ['origin']);
        await destroy(instanceDataset(name), layout.instance(name));
        return found?.origin ?? '-';
      });
      const fingerprint = origin.slice(`${root}/images/`.length).replace(/@readonly$/, '');
      if (origin.startsWith(`${root}/images/`) && isFingerprint(fingerprint)) await dropIfUnused(fingerprint);
    },
    async listInstanceVolumes() {
      const prefix = `${root}/containers/`;
      const names = [...(await tool.findAll(`${root}/containers`, ['type'])).keys()];
      return names.flatMap((name) =>
        name.startsWith(prefix) && !name.includes('@') ? [name.slice(prefix.length)] : [],
      );
    },
    async instanceVolumeUsage(name) {
      const found = await tool.find(instanceDataset(name), ['referenced']);
      if (found === null) throw notFound('Storage volume');
      return Number(found.referenced);
    },
    async setQuota(name, sizeBytes) {
      const dataset = instanceDataset(name);
      if ((await tool.find(dataset, ['type'])) === null) throw notFound('Storage volume');
      await tool.zfs('set', `refquota=${sizeBytes ?? 'none'}`, dataset);
    },
  };
}
