/** Bodies of `PUT` and `PATCH /1.0` (lxd-api 4, 10.10). */
import { z } from 'zod';
import { config } from './common.ts';

export const ServerPut = z
  .object({ config: config() })
  .meta({ id: 'ServerPut', description: 'Server configuration', example: { config: { 'user.site': 'north' } } });
export type ServerPut = z.infer<typeof ServerPut>;
