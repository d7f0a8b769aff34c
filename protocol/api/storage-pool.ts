/** Bodies of the storage endpoints (lxd-api 5.8, 12.4). */
import { z } from 'zod';
import { config, optional, text } from './common.ts';

/** With `?target=` the first phase on one member, without it the creation everywhere. */
export const StoragePoolsPost = z.object({ name: text(), driver: text(), description: text(), config: config() }).meta({
  id: 'StoragePoolsPost',
  description: 'A new storage pool',
  example: { name: 'local', driver: 'zfs', config: { size: '20GiB' } },
});
export type StoragePoolsPost = z.infer<typeof StoragePoolsPost>;

export const StoragePoolPut = z
  .object({ description: text(), config: config() })
  .meta({ id: 'StoragePoolPut', description: 'The writable part of a storage pool' });
export type StoragePoolPut = z.infer<typeof StoragePoolPut>;

export const StoragePoolPatch = z
  .object({ description: optional(z.string()), config: config() })
  .meta({ id: 'StoragePoolPatch', description: 'Changes of a storage pool; config is merged' });
export type StoragePoolPatch = z.infer<typeof StoragePoolPatch>;
