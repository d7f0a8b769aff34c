/** Bodies of the profile endpoints (lxd-api 5.7). */
import { z } from 'zod';
import { config, devices, optional, text } from './common.ts';

export const ProfilesPost = z
  .object({ name: text(), description: text(), config: config(), devices: devices() })
  .meta({ id: 'ProfilesPost', description: 'A new profile', example: { name: 'web', config: { 'limits.cpu': '2' } } });
export type ProfilesPost = z.infer<typeof ProfilesPost>;

export const ProfilePut = z
  .object({ description: text(), config: config(), devices: devices() })
  .meta({ id: 'ProfilePut', description: 'The writable part of a profile' });
export type ProfilePut = z.infer<typeof ProfilePut>;

export const ProfilePatch = z
  .object({ description: optional(z.string()), config: config(), devices: devices() })
  .meta({ id: 'ProfilePatch', description: 'Changes of a profile; config and devices are merged' });
export type ProfilePatch = z.infer<typeof ProfilePatch>;

export const ProfilePost = z
  .object({ name: text() })
  .meta({ id: 'ProfilePost', description: 'A new name for a profile' });
export type ProfilePost = z.infer<typeof ProfilePost>;
