/** What one host keeps of the database: its own rows and the definitions they are built on, in one round trip. */
import { and, eq, like, not } from 'drizzle-orm';
import type { HostBackup } from '#protocol/backup.ts';
import { notFound } from '#protocol/errors.ts';
import { type Db, guardDb } from './db.ts';
import {
  clusterGroups,
  imageAliases,
  images,
  instances,
  members,
  networkMembers,
  networks,
  profiles,
  projects,
  serverConfig,
  storagePoolMembers,
  storagePools,
  storageVolumes,
} from './schema.ts';

/** Hashes, and what belongs to this database alone. */
const isSecret = (key: string) => key === 'core.trust_password' || key.startsWith('internal.');

/** Throws `not_found` for no such member. */
export async function readBackup(db: Db, member: string, now: string): Promise<HostBackup> {
  const [own, config, groups, projectRows, profileRows, pools, ownPools, networkRows, ownNetworks, volumes, ...rest] =
    await guardDb(() =>
      db.batch([
        db.select().from(members).where(eq(members.name, member)),
        db
          .select()
          .from(serverConfig)
          .where(not(like(serverConfig.key, 'internal.%'))),
        db.select().from(clusterGroups),
        db.select().from(projects),
        db.select().from(profiles),
        db.select().from(storagePools),
        db.select().from(storagePoolMembers).where(eq(storagePoolMembers.member, member)),
        db.select().from(networks),
        db.select().from(networkMembers).where(eq(networkMembers.member, member)),
        db
          .select()
          .from(storageVolumes)
          .where(and(eq(storageVolumes.member, member), eq(storageVolumes.status, 'Created'))),
        db.select().from(images).where(eq(images.status, 'ready')),
        db.select().from(imageAliases),
        db.select().from(instances).where(eq(instances.member, member)),
      ]),
    );
  const [imageRows, aliases, instanceRows] = rest;
  const [row] = own;
  if (row === undefined) throw notFound('Cluster member');
  const { description, failureDomain, roles, groups: memberGroups, config: memberConfig, state, createdAt } = row;
  return {
    takenAt: now,
    cluster: {
      config: Object.fromEntries(config.flatMap(({ key, value }) => (isSecret(key) ? [] : [[key, value]]))),
      member: { description, failureDomain, roles, groups: memberGroups, config: memberConfig, state, createdAt },
      groups,
      projects: projectRows,
      profiles: profileRows,
      pools: pools.map(({ status: _status, ...pool }) => ({
        ...pool,
        own: ownPools.find((entry) => entry.pool === pool.name) ?? null,
      })),
      networks: networkRows.map(({ status: _status, ...network }) => ({
        ...network,
        own: ownNetworks.find((entry) => entry.network === network.name) ?? null,
      })),
      volumes,
      images: imageRows,
      aliases,
    },
    instances: instanceRows,
  };
}
