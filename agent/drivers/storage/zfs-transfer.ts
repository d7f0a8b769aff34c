/**
 * Instances' volumes between hosts, for `zfs.ts`: a full stream of a snapshot. Incremental on the image's snapshot would need
 * the very same snapshot on the other host, which has unpacked its own.
 */
import type { Readable } from 'node:stream';
import { conflict, notFound } from '#protocol/errors.ts';
import type { Carry, VolumeTransfer } from './driver.ts';
import { checkVolume } from './layout.ts';
import { carryOutput, feedInput } from './pipes.ts';
import type { ZfsParts } from './zfs-parts.ts';

interface Parts extends ZfsParts {
  /** Writes what the kernel holds back of a mounted file system. */
  sync(path: string): Promise<void>;
}

const SNAPSHOT = '@longshore-send';

export function createZfsTransfer(parts: Parts): VolumeTransfer & {
  /** Removes the snapshots of sendings that a crash ended. */
  sweepSends(): Promise<void>;
} {
  const { root, layout, tool, lock } = parts;
  const datasetOf = (name: string) => `${root}/containers/${checkVolume(name)}`;
  const exists = async (dataset: string) => (await tool.find(dataset, ['type'])) !== null;
  const drop = async (snapshot: string) => {
    if (await exists(snapshot)) await tool.zfsWhenIdle('destroy', snapshot);
  };

  async function send(name: string, carry: Carry): Promise<void> {
    const dataset = datasetOf(name);
    if (!(await exists(dataset))) throw notFound('Storage volume');
    // zfs-fuse writes what it holds back when it unmounts: the snapshot comes after. What runs is taken as it is.
    await parts.unmount(dataset, layout.instance(name)).catch(() => parts.sync(layout.instance(name)));
    await drop(dataset + SNAPSHOT);
    try {
      await tool.zfs('snapshot', dataset + SNAPSHOT);
      await carryOutput('zfs', ['send', dataset + SNAPSHOT], carry);
    } finally {
      await drop(dataset + SNAPSHOT);
    }
  }

  async function receive(name: string, content: Readable): Promise<string> {
    const dataset = datasetOf(name);
    const path = layout.instance(name);
    if (await exists(dataset)) throw conflict(`Storage volume "${name}" already exists`);
    try {
      // It inherits "no mount point" until it is whole.
      await feedInput('zfs', ['receive', '-u', dataset], content);
      await tool.zfs('set', 'canmount=noauto', dataset);
      await drop(dataset + SNAPSHOT);
      await parts.mount(dataset, path);
      return path;
    } catch (error) {
      await parts.destroy(dataset, path);
      throw error;
    }
  }

  return {
    send: (name, carry) => lock.run(`instance:${checkVolume(name)}`, () => send(name, carry)),
    // A full copy: a clone would keep the other from being deleted.
    copy: async (name, newName) => {
      let path = '';
      await lock.run(`instance:${checkVolume(newName)}`, () =>
        lock.run(`instance:${checkVolume(name)}`, () =>
          send(name, async (content) => {
            path = await receive(newName, content);
          }),
        ),
      );
      return path;
    },
    receive: (name, content) => lock.run(`instance:${checkVolume(name)}`, () => receive(name, content)),
    async sweepSends() {
      const known = await tool.findAll(`${root}/containers`, ['type']);
      for (const name of known.keys()) if (name.endsWith(SNAPSHOT)) await drop(name);
    },
  };
}
