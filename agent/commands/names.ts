/** Names of the cluster's instances as they come over the link: gathered for a moment, then served by this host's DNS. */
import type { ControlFrame } from '#protocol/frames.ts';
import type { InstanceNames } from '#protocol/instance-names.ts';
import { instanceKey } from '../journal/journal.ts';
import type { Host } from './host.ts';

/** The first set comes in several frames when it is large. */
const GATHER_MS = 100;

type NamesFrame = Extract<ControlFrame, { type: 'names' }>;

/** Until the first full set has come, DNS keeps what it had; changes before it are of no use. */
export function createNames({ networks, log }: Pick<Host, 'networks' | 'log'>): { take(frame: NamesFrame): void } {
  let names: Map<string, InstanceNames> | null = null;
  let waiting = false;
  const serve = async () => {
    waiting = false;
    await networks.serveNames([...(names?.values() ?? [])].sort((a, b) => (instanceKey(a) < instanceKey(b) ? -1 : 1)));
  };
  return {
    take: ({ full, instances }) => {
      if (full) names = new Map();
      if (names === null) return;
      for (const one of instances) {
        if (one.addresses.length === 0) names.delete(instanceKey(one));
        else names.set(instanceKey(one), one);
      }
      if (waiting) return;
      waiting = true;
      setTimeout(() => void serve().catch((err) => log.error('names.serve.failed', { err })), GATHER_MS).unref();
    },
  };
}
