/** What placement looks at, read in one round trip and at one moment. */
import { and, count, eq, inArray, like, sql, sum } from 'drizzle-orm';
import { isBlocked } from '#worker/domain/member.ts';
import { type PlacementPolicy, placementPolicy } from '#worker/domain/placement-policy.ts';
import { type Db, guardDb, type Write } from './db.ts';
import {
  commands,
  instancePlacements,
  instances,
  members,
  networkMembers,
  serverConfig,
  storagePoolMembers,
} from './schema.ts';

export interface PlacementSnapshot {
  members: {
    name: string;
    online: boolean;
    blocked: boolean;
    evacuated: boolean;
    architecture: string;
    failureDomain: string;
    groups: string[];
    config: Record<string, string>;
    memoryTotalBytes: number;
    cpuCount: number;
    instances: number;
    reservedBytes: number;
    /** Memory of instances whose creation waits or runs. */
    creatingBytes: number;
    pools: string[];
    networks: string[];
    /** Images that an instance there was made from. */
    images: string[];
  }[];
  /** Those of the reserved instances whose rows are in the counts above. */
  counted: string[];
  policy: PlacementPolicy;
}

/** Reads it; `reserved` are the instances that reservations stand for. */
export async function readPlacement(db: Db, reserved: readonly string[]): Promise<PlacementSnapshot> {
  const [hosts, counts, creating, pools, networks, images, counted, settings] = await guardDb(() =>
    db.batch([
      db.select().from(members),
      db
        .select({ member: instances.member, count: count(), bytes: sum(instances.memoryBytes).mapWith(Number) })
        .from(instances)
        .groupBy(instances.member),
      db
        .select({ member: instances.member, bytes: sum(instances.memoryBytes).mapWith(Number) })
        .from(commands)
        .innerJoin(instances, sql`${instances.id} = json_extract(${commands.params}, '$.spec.id')`)
        .where(and(eq(commands.status, 'waiting'), eq(commands.name, 'instance.create')))
        .groupBy(instances.member),
      db
        .select({ member: storagePoolMembers.member, name: storagePoolMembers.pool })
        .from(storagePoolMembers)
        .where(eq(storagePoolMembers.status, 'Created')),
      db
        .select({ member: networkMembers.member, name: networkMembers.network })
        .from(networkMembers)
        .where(eq(networkMembers.status, 'Created')),
      db
        .selectDistinct({
          member: instances.member,
          name: sql<string | null>`json_extract(${instances.config}, '$."volatile.base_image"')`,
        })
        .from(instances),
      db
        .select({ id: instances.id })
        .from(instances)
        .where(inArray(instances.id, [...reserved])),
      db.select().from(serverConfig).where(like(serverConfig.key, 'placement.%')),
    ]),
  );
  const namesOn = (rows: { member: string; name: string | null }[], member: string) =>
    rows.flatMap((row) => (row.member === member && row.name !== null ? [row.name] : []));
  return {
    counted: counted.map(({ id }) => id),
    policy: placementPolicy(Object.fromEntries(settings.map(({ key, value }) => [key, value]))),
    members: hosts.map((host) => ({
      name: host.name,
      online: host.online,
      blocked: isBlocked(host),
      evacuated: host.state === 'Evacuated',
      architecture: host.architecture,
      failureDomain: host.failureDomain,
      groups: host.groups,
      config: host.config,
      memoryTotalBytes: host.resources.memoryTotalBytes,
      cpuCount: host.resources.cpuCount,
      instances: counts.find((row) => row.member === host.name)?.count ?? 0,
      reservedBytes: counts.find((row) => row.member === host.name)?.bytes ?? 0,
      creatingBytes: creating.find((row) => row.member === host.name)?.bytes ?? 0,
      pools: namesOn(pools, host.name),
      networks: namesOn(networks, host.name),
      images: namesOn(images, host.name),
    })),
  };
}

export type PlacementNote = typeof instancePlacements.$inferSelect;

/** A write for the batch that creates the instance: why it is where it is. */
export const insertPlacement = (db: Db, note: PlacementNote) =>
  db.insert(instancePlacements).values(note) satisfies Write;

/** Undefined for instances that were not placed (made before there were such notes). */
export async function findPlacement(db: Db, instanceId: string): Promise<PlacementNote | undefined> {
  return await guardDb(() =>
    db.select().from(instancePlacements).where(eq(instancePlacements.instanceId, instanceId)).get(),
  );
}
