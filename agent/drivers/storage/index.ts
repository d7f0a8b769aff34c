/** The storage drivers of this host. */
import type { PoolSpec } from '#protocol/commands.ts';
import { createBtrfsDriver } from './btrfs.ts';
import { createDirDriver } from './dir.ts';
import type { StorageDriver } from './driver.ts';
import type { StorageDeps } from './layout.ts';
import { createZfsDriver } from './zfs.ts';

export type { StorageDeps } from './layout.ts';

/**
 * The driver for `pool`; nothing on the host is touched before its first verb. Keep one per pool: verbs for the same volume
 * wait for each other inside it. Throws `bad_request` for a pool name or key that cannot be used.
 */
export function createStorageDriver(deps: StorageDeps, pool: PoolSpec): StorageDriver {
  switch (pool.driver) {
    case 'zfs':
      return createZfsDriver(deps, pool);
    case 'btrfs':
      return createBtrfsDriver(deps, pool);
    case 'dir':
      return createDirDriver(deps, pool);
  }
}
