/** The storage drivers of this host, one object per pool, opened at first use. */

import type { PoolSpec } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import type { StorageDriver } from '../drivers/storage/driver.ts';
import type { Journal } from '../journal/journal.ts';

export interface Pools {
  /** The pool's driver with the pool mounted. `spec` is for pools that the journal does not know. Throws `not_found`. */
  open(name: string, spec?: PoolSpec | null): Promise<StorageDriver>;
  /** The driver of a pool that is about to be made, removed or has changed; replaces the one in use. */
  replace(spec: PoolSpec): StorageDriver;
  forget(name: string): void;
}

export function createPools(deps: { journal: Journal; createStorage(pool: PoolSpec): StorageDriver }): Pools {
  const drivers = new Map<string, { driver: StorageDriver; opened: Promise<void> | null }>();

  const replace = (spec: PoolSpec) => {
    const driver = deps.createStorage(spec);
    drivers.set(spec.name, { driver, opened: null });
    return driver;
  };

  const open = async (name: string, spec?: PoolSpec | null) => {
    const known = deps.journal.pools.find(name) ?? spec ?? null;
    if (known === null) throw notFound('Storage pool');
    if (!drivers.has(name)) replace(known);
    const entry = drivers.get(name);
    if (entry === undefined) throw notFound('Storage pool');
    entry.opened ??= entry.driver.openPool();
    try {
      await entry.opened;
    } catch (error) {
      // The next user tries again: a missing device may have come back.
      entry.opened = null;
      throw error;
    }
    return entry.driver;
  };

  return { open, replace, forget: (name) => void drivers.delete(name) };
}
