/**
 * Tells hosts that the copy they keep of the cluster's definitions is old. What follows from a host's own commands it knows by
 * their results; this is for the rest: a changed profile, a new project. Changes of a moment are told once.
 */
import type { Env, Vars } from '#worker/env.ts';
import type { Logger } from '#worker/lib/log.ts';
import type { ClusterEvent } from './contract.ts';

const GATHER_MS = 1_000;

const ABOUT_DEFINITIONS =
  /^(project|profile|network|storage-pool|storage-volume|image|image-alias|cluster-group|cluster-member|config)-/;

/** Whether a copy made before these events is old. That members come and go changes none. Pure. */
export function changesDefinitions(events: readonly ClusterEvent[]): boolean {
  return events.some(({ type, metadata }) => {
    const { action, context } = metadata;
    if (type !== 'lifecycle' || typeof action !== 'string' || !ABOUT_DEFINITIONS.test(action)) return false;
    return !(
      action === 'cluster-member-updated' &&
      typeof context === 'object' &&
      context !== null &&
      'status' in context
    );
  });
}

/** Answers `note`, which never throws and does not wait. Who is not reached fetches its copy at its next hello. */
export function createDefinitionFeed(env: Env, { linkShards }: Pick<Vars, 'linkShards'>, log: Pick<Logger, 'warn'>) {
  let isPending = false;
  const tell = async () => {
    isPending = false;
    const shards = Array.from({ length: linkShards }, (_, index) => env.LINKS.idFromName(`links-${index}`));
    const told = await Promise.allSettled(shards.map(async (id) => env.LINKS.get(id).tellChanged()));
    for (const result of told) if (result.status === 'rejected') log.warn('definitions.untold', {}, result.reason);
  };
  return {
    note: (events: readonly ClusterEvent[]): void => {
      if (isPending || !changesDefinitions(events)) return;
      isPending = true;
      setTimeout(() => void tell(), GATHER_MS);
    },
  };
}
