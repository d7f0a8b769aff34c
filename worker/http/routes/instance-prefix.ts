/**
 * Every instance path exists under three names (lxd-api 5.4): old clients use the two that say the type. There are only
 * containers here, so nothing is found under `virtual-machines`.
 */
import { notFound } from '#protocol/errors.ts';

export const INSTANCE_PREFIXES = ['instances', 'containers', 'virtual-machines'] as const;
export type InstancePrefix = (typeof INSTANCE_PREFIXES)[number];

/** Throws `Instance not found` for the prefix under which no container is. */
export function requirePrefix(prefix: InstancePrefix): void {
  if (prefix === 'virtual-machines') throw notFound('Instance');
}
