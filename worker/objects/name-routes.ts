/** How names go between the objects: what is noted to the Cluster object, what it tells to every Links object. */
import type { Env, Vars } from '#worker/env.ts';
import type { NameNews, NamesFrame } from './names.ts';

export interface NameRoutes {
  /** These may have changed: every host's DNS is told, soon. */
  note(news: NameNews): Promise<void>;
  /** To every connected member; one that is away gets all names at its hello. */
  tell(frames: NamesFrame[]): Promise<void>;
}

/** Both reject when an object cannot be reached. */
export function createNameRoutes(env: Env, { linkShards }: Pick<Vars, 'linkShards'>): NameRoutes {
  const shards = Array.from({ length: linkShards }, (_, index) => `links-${index}`);
  return {
    note: async (news) => {
      await env.CLUSTER.get(env.CLUSTER.idFromName('cluster')).noteNames(news);
    },
    tell: async (frames) => {
      await Promise.all(shards.map(async (name) => env.LINKS.get(env.LINKS.idFromName(name)).tellNames(frames)));
    },
  };
}
