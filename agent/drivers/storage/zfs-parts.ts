/** What the parts of the ZFS driver share. */
import type { KeyedLock } from '../../system/lock.ts';
import type { PoolLayout } from './layout.ts';
import type { ZfsTool } from './zfs-tool.ts';

export interface ZfsParts {
  root: string;
  layout: PoolLayout;
  tool: ZfsTool;
  lock: KeyedLock;
  /** Mounts a dataset where it belongs; throws `not_found`. */
  mount(dataset: string, path: string): Promise<void>;
  unmount(dataset: string, path: string): Promise<void>;
  /** Destroys a dataset with its mount point; absent is fine. */
  destroy(dataset: string, path: string): Promise<void>;
}
