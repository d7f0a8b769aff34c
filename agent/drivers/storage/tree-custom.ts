/** Custom volumes that are directory trees of one mounted file system, for `tree.ts`. */
import { chmod, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { conflict, failed, notFound } from '#protocol/errors.ts';
import { findPathKind, listDirectory } from '../../system/fs.ts';
import type { KeyedLock } from '../../system/lock.ts';
import type { CustomVolumes } from './driver.ts';
import { CONTENT, checkVolume, closeVolume, type PoolLayout } from './layout.ts';
import type { RootedPool } from './rooted-pool.ts';
import type { TreeFileSystem } from './tree.ts';

interface Parts {
  pool: string;
  layout: PoolLayout;
  rooted: RootedPool;
  trees: TreeFileSystem;
  lock: KeyedLock;
  /** Makes a volume whole or not at all. */
  build(path: string, fill: (temporary: string) => Promise<void>): Promise<void>;
  /** Removes a volume so that a crash leaves nothing that looks whole. */
  discard(path: string): Promise<void>;
}

export function createTreeVolumes(parts: Parts): CustomVolumes {
  const { layout, trees, lock } = parts;
  const exists = async (name: string) => (await findPathKind(layout.volume(name))) === 'directory';
  const alone = <T>(name: string, work: () => Promise<T>) => lock.run(`custom:${checkVolume(name)}`, work);

  async function getPath(name: string): Promise<string> {
    if (!(await parts.rooted.isOpen())) throw failed(`Storage pool "${parts.pool}" is not mounted`);
    if (!(await exists(name))) throw notFound('Storage volume');
    return layout.volume(name);
  }

  async function fill(temporary: string): Promise<void> {
    await trees.make(temporary);
    const content = join(temporary, CONTENT);
    await mkdir(content);
    // As LXD makes them, whatever the umask.
    await chmod(content, 0o711);
    await closeVolume(temporary);
  }

  async function move(name: string, newName: string): Promise<void> {
    const [from, to] = [await exists(name), await exists(newName)];
    if (from && to) throw conflict('Volume by that name already exists');
    if (!from && !to) throw notFound('Storage volume');
    if (from) await rename(layout.volume(name), layout.volume(newName));
  }

  return {
    create: (name) =>
      alone(name, async () => {
        if (!(await exists(name))) await parts.build(layout.volume(name), fill);
      }),
    mount: async (name) => join(await getPath(name), CONTENT),
    async rename(name, newName) {
      const [first = name, second = newName] = [name, newName].sort();
      if (name !== newName) await alone(first, () => alone(second, () => move(name, newName)));
    },
    delete: (name) => alone(name, () => parts.discard(layout.volume(name))),
    list: async () => (await listDirectory(layout.custom)).filter((name) => !name.startsWith('.')),
    usage: async (name) => {
      const path = await getPath(name);
      return trees.quota ? trees.usage(path) : null;
    },
    setQuota: async (name, sizeBytes) => trees.setQuota(await getPath(name), sizeBytes),
  };
}
