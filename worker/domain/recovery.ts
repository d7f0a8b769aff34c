/**
 * A cluster put together from what its hosts have (`protocol/backup.ts`). Pure. What the database has already stays; of what
 * several hosts tell, the newest copy counts; an instance that two hosts have is where it runs, else where its copy is newer.
 * Nothing here takes anything away from a host.
 */
import type { ClusterBackup, FoundInstance, HostInventory, InstanceBackup, VolumeBackup } from '#protocol/backup.ts';
import { parseSizeBytes } from '#protocol/units.ts';
import type { Config } from './config.ts';
import { ADDRESS_KEYS, isNetworkMemberKey } from './network-config.ts';
import { isPoolMemberKey } from './pool-config.ts';
import { withProjectDefaults } from './project.ts';

export interface HostShare {
  member: string;
  inventory: HostInventory;
}

/** Names that the database has, by `recoveryKey`. */
export interface Known {
  /** Nothing was made here since the database was new: the seeded project and profile give way. */
  fresh: boolean;
  has(kind: RecoveryKind, key: string): boolean;
  /** On which member the instance is, with its id; undefined for one that is not there. */
  instance(project: string, name: string): { member: string; id: string } | undefined;
}

export type RecoveryKind = 'config' | 'groups' | 'projects' | 'profiles' | 'pools' | 'networks' | 'images' | 'aliases';

export const recoveryKey = (...parts: string[]): string => parts.join('\0');

type Own = NonNullable<ClusterBackup['pools'][number]['own']>;
type Share<T> = T & { member: string };

export interface RecoveryPlan {
  /** `null` for a member that has no copy of itself. */
  members: Share<{ backup: ClusterBackup['member'] | null }>[];
  config: [string, string][];
  groups: ClusterBackup['groups'];
  projects: ClusterBackup['projects'];
  profiles: ClusterBackup['profiles'];
  pools: Omit<ClusterBackup['pools'][number], 'own'>[];
  poolMembers: Share<Own & { pool: string }>[];
  networks: Omit<ClusterBackup['networks'][number], 'own'>[];
  networkMembers: Share<Own & { network: string }>[];
  volumes: Share<VolumeBackup>[];
  images: ClusterBackup['images'];
  aliases: ClusterBackup['aliases'];
  instances: Share<Pick<FoundInstance, 'status' | 'state'> & { instance: InstanceBackup; memoryBytes: number }>[];
  /** For people. */
  notes: string[];
}

export function planRecovery(shares: readonly HostShare[], known: Known): RecoveryPlan {
  const notes: string[] = [];
  // The newest copy first: what is found first counts.
  const newest = shares.toSorted((a, b) => compare(b.inventory.takenAt, a.inventory.takenAt));
  const clusters = newest.flatMap(({ inventory }) => (inventory.cluster === null ? [] : [inventory.cluster]));
  for (const { member, inventory } of newest) {
    if (inventory.cluster === null) notes.push(`Host "${member}" has no copy of the cluster's definitions`);
  }
  const isNew = (kind: RecoveryKind) => (key: string) => !known.has(kind, key);
  // A new database has these two; what the cluster had under their names was the users'.
  const isNewOrSeeded = (kind: 'projects' | 'profiles') => (key: string) => known.fresh || !known.has(kind, key);
  const all = <T>(pick: (cluster: ClusterBackup) => readonly T[], keyOf: (entry: T) => string, isWanted: Wanted) =>
    firstOf(clusters.flatMap(pick), keyOf, isWanted);

  const projects = all(
    (it) => it.projects,
    (it) => it.name,
    isNewOrSeeded('projects'),
  );
  const profiles = all(
    (it) => it.profiles,
    (it) => recoveryKey(it.project, it.name),
    isNewOrSeeded('profiles'),
  );
  const instances = chooseInstances(newest, known, notes).map((found) =>
    withoutLostProfiles(found, (project, name) => {
      const owners = [project, 'default'];
      const kept = (owner: string) =>
        known.has('profiles', recoveryKey(owner, name)) || profiles.some((p) => p.project === owner && p.name === name);
      return owners.some(kept);
    }),
  );
  const lostProjects = firstOf(
    instances.map(({ instance }) => ({ name: instance.project, description: '', config: withProjectDefaults({}) })),
    (it) => it.name,
    (name) => !known.has('projects', name) && !projects.some((project) => project.name === name),
  );
  return {
    members: newest.map(({ member, inventory }) => ({ member, backup: inventory.cluster?.member ?? null })),
    config: all(
      (it) => Object.entries(it.config),
      ([key]) => key,
      isNew('config'),
    ),
    groups: all(
      (it) => it.groups,
      (it) => it.name,
      isNew('groups'),
    ),
    projects: [...projects, ...lostProjects],
    profiles,
    ...planPools(newest, isNew('pools')),
    ...planNetworks(newest, isNew('networks')),
    volumes: newest.flatMap(({ member, inventory }) =>
      (inventory.cluster?.volumes ?? []).map((volume) => ({ ...volume, member })),
    ),
    images: all(
      (it) => it.images,
      (it) => recoveryKey(it.project, it.fingerprint),
      isNew('images'),
    ),
    aliases: all(
      (it) => it.aliases,
      (it) => recoveryKey(it.project, it.name),
      isNew('aliases'),
    ),
    instances,
    notes,
  };
}

type Wanted = (key: string) => boolean;

function firstOf<T>(entries: readonly T[], keyOf: (entry: T) => string, isWanted: Wanted): T[] {
  const seen = new Map<string, T>();
  for (const entry of entries) {
    const key = keyOf(entry);
    if (!seen.has(key) && isWanted(key)) seen.set(key, entry);
  }
  return [...seen.values()];
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

const pickKeys = (config: Config, isWanted: Wanted): Config =>
  Object.fromEntries(Object.entries(config).filter(([key]) => isWanted(key)));

/** A host always has its own part, whichever copy tells of the whole. */
function planPools(shares: readonly HostShare[], isNew: Wanted): Pick<RecoveryPlan, 'pools' | 'poolMembers'> {
  const told = shares.flatMap(({ member, inventory }) => {
    const copies = inventory.cluster?.pools ?? [];
    const rest = inventory.pools.filter(({ name }) => !copies.some((copy) => copy.name === name));
    return [
      ...copies.map((copy) => ({ ...copy, member })),
      ...rest.map(({ name, driver, config }) => {
        const own = { config: pickKeys(config, isPoolMemberKey), status: 'Created' as const, message: '' };
        return { name, driver, member, description: '', config: pickKeys(config, (key) => !isPoolMemberKey(key)), own };
      }),
    ];
  });
  return {
    pools: firstOf(told, ({ name }) => name, isNew).map(({ own: _own, member: _member, ...pool }) => pool),
    poolMembers: told.flatMap(({ name, own, member }) => (own === null ? [] : [{ ...own, pool: name, member }])),
  };
}

function planNetworks(shares: readonly HostShare[], isNew: Wanted): Pick<RecoveryPlan, 'networks' | 'networkMembers'> {
  const isOwn = (key: string) => isNetworkMemberKey(key) || ADDRESS_KEYS.some((address) => address === key);
  const told = shares.flatMap(({ member, inventory }) => {
    const copies = inventory.cluster?.networks ?? [];
    const rest = inventory.networks.filter(({ name }) => !copies.some((copy) => copy.name === name));
    return [
      ...copies.map((copy) => ({ ...copy, member })),
      ...rest.map(({ name, type, description, config }) => {
        const own = { config: pickKeys(config, isOwn), status: 'Created' as const, message: '' };
        // Whether an address was asked for or picked is nowhere any more: each host keeps its own.
        const picked = Object.fromEntries(ADDRESS_KEYS.flatMap((key) => (config[key] ? [[key, 'auto']] : [])));
        const shared = { ...pickKeys(config, (key) => !isOwn(key)), ...picked };
        return { name, type, member, description, config: shared, own };
      }),
    ];
  });
  return {
    networks: firstOf(told, ({ name }) => name, isNew).map(({ own: _own, member: _member, ...network }) => network),
    networkMembers: told.flatMap(({ name, own, member }) => (own === null ? [] : [{ ...own, network: name, member }])),
  };
}

type Found = Share<FoundInstance>;

const isUp = ({ status }: FoundInstance) => status === 'Running' || status === 'Frozen';

/** One place for each instance; every other copy stays on its host, and is named. */
function chooseInstances(shares: readonly HostShare[], known: Known, notes: string[]): Found[] {
  const byName = new Map<string, Found[]>();
  for (const { member, inventory } of shares) {
    for (const found of inventory.instances) {
      const { project, name } = found.instance;
      const key = recoveryKey(project, name);
      byName.set(key, [...(byName.get(key) ?? []), { ...found, member }]);
    }
  }
  return [...byName.values()].flatMap((copies) => {
    const [best, ...rest] = copies.toSorted(
      (a, b) => Number(isUp(b)) - Number(isUp(a)) || compare(b.takenAt, a.takenAt) || compare(a.member, b.member),
    );
    if (best === undefined) return [];
    const { project, name } = best.instance;
    const present = known.instance(project, name);
    const where = present?.member ?? best.member;
    for (const copy of present === undefined ? rest : copies) {
      if (copy.member === where && (present === undefined || present.id === copy.instance.id)) continue;
      notes.push(
        `Instance "${name}" of project "${project}" is on "${where}"; "${copy.member}" has another copy (${copy.status}), which is left there`,
      );
    }
    return present === undefined ? [best] : [];
  });
}

/** What a profile gave that is nowhere any more becomes the instance's own. */
function withoutLostProfiles(
  { member, instance, status, state, expandedConfig, expandedDevices }: Found,
  hasProfile: (project: string, name: string) => boolean,
): RecoveryPlan['instances'][number] {
  const memoryBytes = parseSizeBytes(expandedConfig['limits.memory'] ?? '') ?? 0;
  const found = { member, status, state, memoryBytes };
  const kept = instance.profiles.filter((name) => hasProfile(instance.project, name));
  if (kept.length === instance.profiles.length) return { ...found, instance };
  const config = { ...expandedConfig, ...instance.config };
  const devices = { ...expandedDevices, ...instance.devices };
  return { ...found, instance: { ...instance, profiles: kept, config, devices } };
}
