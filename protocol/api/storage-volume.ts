/** Bodies of the storage volume endpoints (lxd-api 5.8). */
import { z } from 'zod';
import { config, flag, optional, text } from './common.ts';

export const StorageVolumesPost = z
  .object({
    name: text(),
    /** Of the path when it names none. */
    type: text(),
    /** Empty is `filesystem`. */
    content_type: text(),
    description: text(),
    config: config(),
    /** An empty type makes an empty volume; `copy` and `migration` are those that copy one. */
    source: z
      .object({ type: text() })
      .nullish()
      .transform((value) => value ?? { type: '' }),
  })
  .meta({
    id: 'StorageVolumesPost',
    description: 'A new storage volume',
    example: { name: 'web', type: 'custom', content_type: 'filesystem', config: { size: '10GiB' } },
  });
export type StorageVolumesPost = z.infer<typeof StorageVolumesPost>;

/** Renames; with a pool, a project or `migration` it would be moved. */
export const StorageVolumePost = z
  .object({ name: text(), pool: text(), project: text(), migration: flag() })
  .meta({ id: 'StorageVolumePost', description: 'A new name for a storage volume', example: { name: 'web2' } });
export type StorageVolumePost = z.infer<typeof StorageVolumePost>;

export const StorageVolumePut = z
  .object({ description: text(), config: config(), restore: text() })
  .meta({ id: 'StorageVolumePut', description: 'The writable part of a storage volume' });
export type StorageVolumePut = z.infer<typeof StorageVolumePut>;

export const StorageVolumePatch = z
  .object({ description: optional(z.string()), config: config() })
  .meta({ id: 'StorageVolumePatch', description: 'Changes of a storage volume; config is merged' });
export type StorageVolumePatch = z.infer<typeof StorageVolumePatch>;
