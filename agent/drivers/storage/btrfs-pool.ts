/** The btrfs file system below a storage pool: on a file of its own, on a block device, or a directory of another one. */
import { rm } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import type { PoolSpec } from '#protocol/commands.ts';
import { badRequest, conflict, failed } from '#protocol/errors.ts';
import { findPathKind, readFileSystemUsage } from '../../system/fs.ts';
import { findMount } from '../../system/mounts.ts';
import { createPoolDisk, effectiveConfig, findContent, growPoolDisk, NOT_A_LOOP, readDiskSize } from './disk-source.ts';
import type { PoolLayout, StorageDeps } from './layout.ts';
import { claim, disclaim, isClaimed, mountRoot, type RootedPool, unmountRoot } from './rooted-pool.ts';

const BTRFS_MAGIC = 0x9123683e;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type Source =
  | { kind: 'loop'; path: string }
  | { kind: 'device'; path: string }
  | { kind: 'uuid'; uuid: string }
  | { kind: 'directory'; path: string };

async function readSource(pool: PoolSpec, layout: PoolLayout): Promise<Source> {
  const source = pool.config.source || layout.disk;
  if (source === layout.disk) return { kind: 'loop', path: source };
  if (UUID.test(source)) return { kind: 'uuid', uuid: source };
  if (!isAbsolute(source)) throw badRequest(`Source path "${source}" must be absolute`);
  const kind = await findPathKind(source);
  if (kind === 'block' || (kind === 'symlink' && source.startsWith('/dev/'))) return { kind: 'device', path: source };
  if (kind === 'file') throw badRequest('Custom loop file locations are not supported');
  return { kind: 'directory', path: source };
}

/** Mount options: the administrator's, and always `nodev`, so that no device node in a container's tree works. */
export function mountOptions(pool: PoolSpec): string {
  const asked = pool.config['btrfs.mount_options'] || 'user_subvol_rm_allowed';
  if (!/^[\w.,=:/-]+$/.test(asked)) throw badRequest('Invalid value for config key "btrfs.mount_options"');
  return `${asked},nodev`;
}

async function isOnBtrfs(path: string): Promise<boolean> {
  return (await readFileSystemUsage(path)).type >>> 0 === BTRFS_MAGIC;
}

/** Handles the file system of `pool` with the paths of `layout`. */
export function createBtrfsPool(deps: StorageDeps, pool: PoolSpec, layout: PoolLayout): RootedPool {
  const { exec } = deps;
  const notEmpty = (source: string) => () => badRequest(`Source path "${source}" isn't empty`);
  const options = mountOptions(pool);

  const mountDisk = (...device: string[]) => mountRoot(exec, layout, ['-t', 'btrfs', '-o', options, '--', ...device]);

  async function mount(source: Source): Promise<void> {
    switch (source.kind) {
      case 'loop':
        return mountRoot(exec, layout, ['-t', 'btrfs', '-o', `loop,${options}`, '--', source.path]);
      case 'device':
        return mountDisk(source.path);
      case 'uuid':
        return mountDisk(`UUID=${source.uuid}`);
      case 'directory':
        return mountRoot(exec, layout, ['--bind', '-o', 'nodev', '--', source.path]);
    }
  }

  /** Formats a blank disk. One that is btrfs already is looked at when it is mounted: a retry finds its own marker there. */
  async function format(path: string): Promise<void> {
    const content = await findContent(exec, path);
    if (content === 'btrfs') return;
    if (content !== null) throw badRequest(`Source "${path}" isn't empty: it holds ${content}`);
    await exec('mkfs.btrfs', ['--quiet', '--label', pool.name, path], { timeoutMs: 10 * 60_000 });
  }

  async function makeSubvolume(path: string): Promise<void> {
    if ((await findPathKind(path)) === null) {
      if ((await findPathKind(dirname(path))) !== 'directory' || !(await isOnBtrfs(dirname(path)))) {
        throw badRequest('Provided path does not reside on a btrfs filesystem');
      }
      await exec('btrfs', ['subvolume', 'create', '--', path]);
    }
    if ((await findPathKind(path)) !== 'directory') throw badRequest('Provided path is not a directory');
    if (!(await isOnBtrfs(path))) throw badRequest('Provided path does not reside on a btrfs filesystem');
  }

  async function prepare(source: Source): Promise<Record<string, string>> {
    switch (source.kind) {
      case 'loop': {
        await createPoolDisk(deps, pool, source.path);
        await format(source.path);
        return { size: await readDiskSize(source.path), source: source.path };
      }
      case 'device': {
        await format(source.path);
        const { stdout } = await exec('blkid', ['-p', '-s', 'UUID', '-o', 'value', '--', source.path]);
        return { source: stdout.trim() };
      }
      case 'uuid':
        return { source: source.uuid };
      case 'directory':
        await makeSubvolume(source.path);
        return { source: source.path };
    }
  }

  /** Takes the mounted file system, or leaves everything as it was. */
  async function take(source: Source): Promise<void> {
    const before = await findMount(layout.mount);
    await mount(source);
    try {
      await claim(layout.mount, pool.name, notEmpty(pool.config.source || layout.disk));
    } catch (error) {
      if (before === undefined) await unmountRoot(exec, layout).catch(() => {});
      throw error;
    }
  }

  const isOpen = async () =>
    (await findMount(layout.mount)) !== undefined && (await isClaimed(layout.mount, pool.name));

  return {
    isOpen,
    async create() {
      const source = await readSource(pool, layout);
      const decided = await prepare(source);
      await take(source);
      return effectiveConfig(pool, decided);
    },
    async open() {
      const source = await readSource(pool, layout);
      await mount(source).catch((error: unknown) => {
        throw failed(`Failed mounting storage pool "${pool.name}"`, error);
      });
      if (!(await isClaimed(layout.mount, pool.name))) throw conflict(`${layout.mount} holds another storage pool`);
    },
    async grow(sizeBytes) {
      if ((await readSource(pool, layout)).kind !== 'loop') throw badRequest(NOT_A_LOOP);
      await growPoolDisk(layout.disk, sizeBytes);
      const device = (await findMount(layout.mount))?.source ?? '';
      await exec('losetup', ['--set-capacity', device]);
      await exec('btrfs', ['filesystem', 'resize', 'max', layout.mount]);
    },
    async delete() {
      if (await isOpen()) await disclaim(layout.mount);
      await unmountRoot(exec, layout);
      await rm(layout.disk, { force: true });
    },
  };
}
