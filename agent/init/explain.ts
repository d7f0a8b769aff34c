/** What of a preseed means something else here than with LXD, or nothing: said, never silently dropped. Pure. */
import type { Preseed } from './preseed.ts';

/** Keys about addresses that members listen on: here none listens. */
export const LISTENING_KEYS = ['core.https_address', 'cluster.https_address'];

/** One line for stderr for each key without its usual effect. */
export function explainPreseed(preseed: Preseed, mode: 'form' | 'join'): string[] {
  const lines: string[] = [];
  const say = (key: string, why: string) => void lines.push(`Note: ${key}: ${why}`);
  for (const key of LISTENING_KEYS) {
    const address = preseed.config[key];
    if (address) say(`config.${key}`, `"${address}" is not used: clients reach the cluster at its control plane`);
  }
  const cluster = preseed.cluster;
  if (cluster?.server_address) say('cluster.server_address', 'not used: members are never connected to');
  if (cluster?.cluster_certificate || cluster?.cluster_certificate_path) {
    say('cluster.cluster_certificate', 'the control plane must show this certificate; it is stored nowhere');
  }
  if (mode === 'form') {
    if (cluster?.cluster_password) say('cluster.cluster_password', 'not used: nothing is joined');
    return lines;
  }
  const others = Object.keys(preseed.config).filter((key) => !LISTENING_KEYS.includes(key));
  if (others.length > 0) say(`config.${others.join(', config.')}`, 'not used: the cluster’s configuration counts');
  if (preseed.storage_pools.length > 0) say('storage_pools', 'only what is this host’s own (source, size …) is used');
  if (preseed.networks.length > 0) say('networks', 'only what is this host’s own (bridge.external_interfaces) is used');
  if (preseed.profiles.length > 0) say('profiles', 'not used: the cluster’s profiles count');
  if (preseed.projects.length > 0) say('projects', 'not used: the cluster’s projects count');
  return lines;
}
