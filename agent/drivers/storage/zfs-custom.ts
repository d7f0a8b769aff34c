/** Custom volumes as datasets below `<root>/custom`, for `zfs.ts`. */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { conflict, notFound } from '#protocol/errors.ts';
import { findPathKind, removeEmptyDirectory } from '../../system/fs.ts';
import type { CustomVolumes } from './driver.ts';
import { CONTENT, checkVolume, closeVolume } from './layout.ts';
import type { ZfsParts } from './zfs-parts.ts';

export function createZfsVolumes({ root, layout, tool, lock, ...parts }: ZfsParts): CustomVolumes {
  const datasetOf = (name: string) => `${root}/custom/${checkVolume(name)}`;
  const exists = async (name: string) => (await tool.find(datasetOf(name), ['type'])) !== null;
  const alone = <T>(name: string, work: () => Promise<T>) => lock.run(`custom:${checkVolume(name)}`, work);
  const mounted = async (name: string): Promise<string> => {
    await parts.mount(datasetOf(name), layout.volume(name));
    return join(layout.volume(name), CONTENT);
  };

  async function create(name: string): Promise<void> {
    const options = ['-o', `mountpoint=${layout.volume(name)}`, '-o', 'canmount=noauto'];
    if (!(await exists(name))) await tool.zfs('create', ...options, datasetOf(name));
    const content = await mounted(name);
    if ((await findPathKind(content)) !== null) return;
    await closeVolume(layout.volume(name));
    await mkdir(content);
    // As LXD makes them, whatever the umask.
    await chmod(content, 0o711);
  }

  async function move(name: string, newName: string): Promise<void> {
    const [from, to] = [await exists(name), await exists(newName)];
    if (from && to) throw conflict('Volume by that name already exists');
    if (!from && !to) throw notFound('Storage volume');
    if (from) {
      await parts.unmount(datasetOf(name), layout.volume(name));
      await tool.zfsWhenIdle('rename', datasetOf(name), datasetOf(newName));
    }
    // Also after a crash between the two: mounting sets the new place.
    await mounted(newName);
    await removeEmptyDirectory(layout.volume(name));
  }

  return {
    create: (name) => alone(name, () => create(name)),
    mount: (name) => alone(name, () => mounted(name)),
    async rename(name, newName) {
      const [first = name, second = newName] = [name, newName].sort();
      if (name !== newName) await alone(first, () => alone(second, () => move(name, newName)));
    },
    delete: (name) => alone(name, () => parts.destroy(datasetOf(name), layout.volume(name))),
    async list() {
      const prefix = `${root}/custom/`;
      const names = [...(await tool.findAll(`${root}/custom`, ['type'])).keys()];
      return names.flatMap((name) =>
        name.startsWith(prefix) && !name.includes('@') ? [name.slice(prefix.length)] : [],
      );
    },
    async usage(name) {
      const found = await tool.find(datasetOf(name), ['referenced']);
      if (found === null) throw notFound('Storage volume');
      return Number(found.referenced);
    },
    async setQuota(name, sizeBytes) {
      if (!(await exists(name))) throw notFound('Storage volume');
      await tool.zfs('set', `refquota=${sizeBytes ?? 'none'}`, datasetOf(name));
    },
  };
}
