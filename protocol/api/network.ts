/** Bodies of the network endpoints (lxd-api 5.6, 12.4). */
import { z } from 'zod';
import { config, optional, text } from './common.ts';

/** With `?target=` the first phase on one member, without it the creation everywhere. An empty type is a bridge. */
export const NetworksPost = z.object({ name: text(), type: text(), description: text(), config: config() }).meta({
  id: 'NetworksPost',
  description: 'A new network',
  example: { name: 'lxdbr0', type: 'bridge', config: { 'ipv4.address': '10.10.0.1/24', 'ipv6.address': 'none' } },
});
export type NetworksPost = z.infer<typeof NetworksPost>;

export const NetworkPut = z
  .object({ description: text(), config: config() })
  .meta({ id: 'NetworkPut', description: 'The writable part of a network' });
export type NetworkPut = z.infer<typeof NetworkPut>;

export const NetworkPatch = z
  .object({ description: optional(z.string()), config: config() })
  .meta({ id: 'NetworkPatch', description: 'Changes of a network; config is merged' });
export type NetworkPatch = z.infer<typeof NetworkPatch>;
