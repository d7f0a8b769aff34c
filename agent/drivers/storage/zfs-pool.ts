/**
 * Making, finding again and removing the ZFS pool or dataset below a storage pool.
 *
 * The property `longshore:pool` on its root dataset tells whose it is and what was made for it: it is set in the same step
 * that makes the dataset, so that an interrupted attempt is recognised. It names the dataset since properties are inherited.
 */
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { PoolSpec } from '#protocol/commands.ts';
import { badRequest, conflict, failed } from '#protocol/errors.ts';
import { findPathKind, listDirectory, removeEmptyDirectory } from '../../system/fs.ts';
import {
  createPoolDisk,
  effectiveConfig,
  growPoolDisk,
  NOT_A_LOOP,
  readDiskSize,
  requireBlank,
} from './disk-source.ts';
import { findZfsModuleVersion } from './idmap-support.ts';
import { makePassage, type PoolLayout, type StorageDeps } from './layout.ts';
import { isAbsent, type ZfsTool } from './zfs-tool.ts';

const OWNER = 'longshore:pool';
const DATASET_NAME = /^[A-Za-z][A-Za-z0-9_.:-]*(?:\/[A-Za-z0-9][A-Za-z0-9_.:-]*)*$/;

/** The datasets below the root, which hold the volumes. */
const KINDS = ['containers', 'custom', 'images'];

/** What was made for the pool: the zpool, a dataset in one that was there, or nothing. */
type Made = 'pool' | 'dataset' | 'adopted';

export interface ZfsPool {
  /** The dataset that everything of the pool is below. */
  root: string;
  create(): Promise<Record<string, string>>;
  open(): Promise<void>;
  grow(sizeBytes: number): Promise<void>;
  delete(): Promise<void>;
}

/** The root dataset's name: `zfs.pool_name`, else the pool or dataset named as source, else the pool's own name. */
export function chooseRoot(pool: PoolSpec): string {
  const source = pool.config.source ?? '';
  const asked = pool.config['zfs.pool_name'] ?? '';
  const named = source !== '' && !source.startsWith('/');
  const root = asked || (named ? source : pool.name);
  if (!DATASET_NAME.test(root) || root.length > 128) throw badRequest(`Invalid ZFS pool name ${JSON.stringify(root)}`);
  // After its creation on a disk the pool's source is the zpool itself.
  if (named && source !== root) throw badRequest('The source must match zfs.pool_name if specified');
  if (!named && root.includes('/')) throw badRequest('A ZFS dataset cannot be made on a disk: leave out the source');
  return root;
}

/** Handles the pool of `pool` with the paths of `layout`. */
export function createZfsPool(deps: StorageDeps & { tool: ZfsTool }, pool: PoolSpec, layout: PoolLayout): ZfsPool {
  const { tool } = deps;
  const root = chooseRoot(pool);
  const zpoolName = root.split('/', 1)[0] ?? root;
  const source = pool.config.source || layout.disk;
  const ownDisk = source === layout.disk;
  const onDisk = source.startsWith('/');
  const mark = (made: Made) => `${OWNER}=${made}:${pool.name}:${root}`;

  /** What was made, undefined for a dataset that is not ours; null when there is no dataset. */
  async function findMade(): Promise<Made | 'foreign' | 'unmarked' | null> {
    const found = await tool.find(root, [OWNER]);
    if (found === null) return null;
    const [made, owner, ...dataset] = (found[OWNER] ?? '-').split(':');
    if (dataset.join(':') !== root) return 'unmarked';
    if (owner !== pool.name) return 'foreign';
    return made === 'pool' || made === 'dataset' || made === 'adopted' ? made : 'foreign';
  }

  async function importPool(): Promise<void> {
    if (onDisk && (await findPathKind(source)) === null) return;
    const where = onDisk ? ['-d', dirname(source)] : [];
    try {
      await tool.zpool('import', ...where, zpoolName);
    } catch (error) {
      deps.log.debug('storage.zfs.import.failed', { pool: pool.name, zpool: zpoolName, err: error });
      if (!ownDisk) return;
      // The file is this pool's alone: "last used by another system" only means that the host's id has changed.
      await tool.zpool('import', '-f', ...where, zpoolName).catch(() => {});
    }
  }

  async function findMadeOrImport() {
    const made = await findMade();
    if (made !== null) return made;
    await importPool();
    return findMade();
  }

  async function makeDatasets(): Promise<void> {
    for (const name of KINDS) {
      const options = ['mountpoint=none', 'canmount=off', 'devices=off', 'setuid=on'].flatMap((option) => [
        '-o',
        option,
      ]);
      await tool.zfs('create', '-p', ...options, `${root}/${name}`);
    }
    await makePassage(layout.containers);
    await makePassage(layout.images);
    await makePassage(layout.custom);
  }

  async function makeOnDisk(): Promise<void> {
    const kind = await findPathKind(source);
    if (kind === null) await createPoolDisk(deps, pool, source);
    else if (kind !== 'file' && kind !== 'block' && kind !== 'symlink') {
      throw badRequest(`Source "${source}" is neither a block device nor a file`);
    }
    await requireBlank(deps.exec, source);
    const modern = (await findZfsModuleVersion()) === null ? [] : ['compression=on', 'xattr=sa', 'acltype=posixacl'];
    const options = ['atime=off', 'devices=off', mark('pool'), ...modern].flatMap((option) => ['-O', option]);
    await tool.zpool('create', '-m', 'none', ...options, zpoolName, source);
  }

  async function adopt(): Promise<void> {
    if (pool.config.size) throw badRequest('Cannot set size property when using existing ZFS pool');
    const existing = await tool.findAll(root, ['type']);
    if (existing.size === 0) {
      if (!root.includes('/')) throw badRequest(`ZFS pool "${root}" doesn't exist`);
      await tool.zfs('create', '-o', 'mountpoint=none', '-o', mark('dataset'), root);
      return;
    }
    if (existing.size > 1) throw badRequest("Provided ZFS pool (or dataset) isn't empty");
    await tool.zfs('set', mark('adopted'), root);
  }

  /** The keys of a pool that is there, whoever asks again. */
  async function settled(made: Made): Promise<Record<string, string>> {
    const onFile = onDisk && (await findPathKind(source)) === 'file';
    // A device may have another name after the next boot; ZFS finds its pools by their own.
    const lasting = onDisk && (onFile || made !== 'pool') ? source : root;
    return effectiveConfig(pool, {
      ...(onFile ? { size: await readDiskSize(source) } : {}),
      source: lasting,
      'zfs.pool_name': root,
    });
  }

  return {
    root,
    async create() {
      let made = await findMadeOrImport();
      if (made === 'foreign') throw conflict(`ZFS pool "${root}" belongs to another storage pool`);
      if (made === 'unmarked' && onDisk) throw conflict(`ZFS pool "${root}" already exists`);
      if (made === null || made === 'unmarked') {
        if (onDisk) await makeOnDisk();
        else await adopt();
        made = await findMade();
      }
      if (made !== 'pool' && made !== 'dataset' && made !== 'adopted') {
        throw failed(`Failed creating ZFS pool "${root}"`);
      }
      await makeDatasets();
      return settled(made);
    },

    async open() {
      const made = await findMadeOrImport();
      if (made === null) throw failed(`ZFS pool "${root}" cannot be found on this host`);
      if (made === 'foreign' || made === 'unmarked') {
        throw conflict(`ZFS pool "${root}" belongs to another storage pool`);
      }
      await makeDatasets();
    },

    async grow(sizeBytes) {
      if (!ownDisk) throw badRequest(NOT_A_LOOP);
      await growPoolDisk(layout.disk, sizeBytes);
      // zfs-fuse looks at the size of a file only when it imports the pool, and takes more only with this.
      await tool.zpool('set', 'autoexpand=on', zpoolName);
      await tool.zpool('online', '-e', zpoolName, layout.disk);
    },

    async delete() {
      const made = await findMadeOrImport();
      if (made === 'pool' || made === 'dataset' || made === 'adopted') {
        const volumes = [
          ...(await tool.findAll(`${root}/containers`, ['type'])).keys(),
          ...(await tool.findAll(`${root}/custom`, ['type'])).keys(),
        ];
        const leftover = volumes.find((name) => !KINDS.some((kind) => name === `${root}/${kind}`));
        if (leftover !== undefined) throw failed(`ZFS pool has leftover datasets: ${leftover}`);
        if (made === 'pool') await tool.zpool('destroy', zpoolName);
        else if (made === 'dataset') await tool.zfsWhenIdle('destroy', '-r', root);
        else {
          for (const name of KINDS) {
            await tool.zfsWhenIdle('destroy', '-r', `${root}/${name}`).catch((error: unknown) => {
              if (!isAbsent(error)) throw error;
            });
          }
          await tool.zfs('inherit', OWNER, root);
        }
      }
      if (ownDisk) await rm(layout.disk, { force: true });
      for (const directory of [layout.containers, layout.images, layout.custom]) {
        // Mount points of volumes that a crash kept from being removed with them.
        for (const name of await listDirectory(directory)) await removeEmptyDirectory(join(directory, name));
        await removeEmptyDirectory(directory);
      }
      await removeEmptyDirectory(layout.mount);
    },
  };
}
