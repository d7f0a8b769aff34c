/**
 * Managed networks and what each member has of them. A network's row holds what the user set, `auto` included; a member's
 * row its own keys and the addresses it really has.
 */
import { and, asc, eq, inArray, ne, sql } from 'drizzle-orm';
import type { NetworkSpec } from '#protocol/commands.ts';
import { notFound } from '#protocol/errors.ts';
import type { Config } from '#worker/domain/config.ts';
import { ADDRESS_KEYS, mergeNetworkConfig } from '#worker/domain/network-config.ts';
import type { Db } from './db.ts';
import { instances, networkMembers, networks, profiles } from './schema.ts';
import type { Statement } from './statement.ts';

export type NetworkRow = typeof networks.$inferSelect;
export type NetworkMemberRow = typeof networkMembers.$inferSelect;
export type NetworkWithMembers = NetworkRow & { members: NetworkMemberRow[] };

export async function findNetwork(db: Db, name: string): Promise<NetworkRow | undefined> {
  const rows = await db.select().from(networks).where(eq(networks.name, name)).limit(1);
  return rows[0];
}

/** The network with its members by name, in one round trip. */
export async function findNetworkWithMembers(db: Db, name: string): Promise<NetworkWithMembers | undefined> {
  const [rows, members] = await db.batch([
    db.select().from(networks).where(eq(networks.name, name)).limit(1),
    db.select().from(networkMembers).where(eq(networkMembers.network, name)).orderBy(asc(networkMembers.member)),
  ]);
  const [network] = rows;
  return network && { ...network, members };
}

export async function listNetworks(db: Db): Promise<NetworkWithMembers[]> {
  const [rows, members] = await db.batch([
    db.select().from(networks).orderBy(asc(networks.name)),
    db.select().from(networkMembers).orderBy(asc(networkMembers.member)),
  ]);
  return rows.map((network) => ({ ...network, members: members.filter((member) => member.network === network.name) }));
}

/** The network as one member is told of it: the member's resolved addresses stand in for `auto`. */
export const toNetworkSpec = (network: NetworkRow, memberConfig: Config): NetworkSpec => ({
  name: network.name,
  type: network.type,
  config: mergeNetworkConfig(network.config, memberConfig),
  description: network.description,
});

/** What the member is told of these networks, in the order asked. Throws `not_found` when one is unknown. */
export async function networkSpecsFor(db: Db, names: readonly string[], member: string): Promise<NetworkSpec[]> {
  if (names.length === 0) return [];
  const [rows, members] = await db.batch([
    db
      .select()
      .from(networks)
      .where(inArray(networks.name, [...names])),
    db
      .select()
      .from(networkMembers)
      .where(and(eq(networkMembers.member, member), inArray(networkMembers.network, [...names]))),
  ]);
  return [...new Set(names)].map((name) => {
    const network = rows.find((row) => row.name === name);
    if (!network) throw notFound('Network');
    return toNetworkSpec(network, members.find((row) => row.network === name)?.config ?? {});
  });
}

/** Who uses networks by NIC devices (`network`, or `parent` of a bridged one); instances by their own and their profiles' devices. */
export interface NetworkUser {
  network: string;
  kind: 'instance' | 'profile';
  project: string;
  name: string;
}

const nicNetwork = sql<string>`coalesce(nullif(json_extract(device.value, '$.network'), ''), json_extract(device.value, '$.parent'))`;
const isNic = sql`json_extract(device.value, '$.type') = 'nic'`;

/** Every use of the network (null: of all networks), instances through their profiles included, in one round trip. */
export async function listNetworkUsers(db: Db, network: string | null): Promise<NetworkUser[]> {
  const wanted = network === null ? sql`${nicNetwork} is not null` : sql`${nicNetwork} = ${network}`;
  const columns = (kind: 'instance' | 'profile', table: typeof instances | typeof profiles) => ({
    network: nicNetwork.as('network'),
    kind: sql<'instance' | 'profile'>`${sql.raw(`'${kind}'`)}`.as('kind'),
    project: sql<string>`${table.project}`.as('project'),
    name: sql<string>`${table.name}`.as('name'),
  });
  const [own, ofProfiles, byProfile] = await db.batch([
    db
      .selectDistinct(columns('instance', instances))
      .from(instances)
      .innerJoin(sql`json_each(${instances.devices}) as device`, sql`true`)
      .where(and(isNic, wanted)),
    db
      .selectDistinct(columns('profile', profiles))
      .from(profiles)
      .innerJoin(sql`json_each(${profiles.devices}) as device`, sql`true`)
      .where(and(isNic, wanted)),
    // An instance's own device of the same name masks the profile's.
    db
      .selectDistinct(columns('instance', instances))
      .from(instances)
      .innerJoin(sql`json_each(${instances.profiles}) as used`, sql`true`)
      .innerJoin(profiles, and(eq(profiles.project, instances.project), eq(profiles.name, sql`used.value`)))
      .innerJoin(sql`json_each(${profiles.devices}) as device`, sql`true`)
      .where(
        and(
          isNic,
          wanted,
          sql`not exists (select 1 from json_each(${instances.devices}) as mine where mine.key = device.key)`,
        ),
      ),
  ]);
  const seen = new Set<string>();
  return [...ofProfiles, ...own, ...byProfile].filter((user) => {
    const key = JSON.stringify(user);
    return seen.has(key) ? false : seen.add(key);
  });
}

/** First phase: the row of the network if it is new, and the member's. A unique violation: the member has it. */
export const defineNetworkOnMember = (db: Db, network: NetworkRow, member: string, config: Config): Statement[] => [
  db.insert(networks).values(network).onConflictDoNothing(),
  db.insert(networkMembers).values({ network: network.name, member, config, status: 'Pending', message: '' }),
];

/** A unique violation means that the network exists. */
export const insertNetwork = (db: Db, network: NetworkRow): Statement => db.insert(networks).values(network);

/** The member's row as it is to be; an existing one gets config and status anew. */
export const putNetworkMember = (db: Db, row: NetworkMemberRow): Statement =>
  db
    .insert(networkMembers)
    .values(row)
    .onConflictDoUpdate({
      target: [networkMembers.network, networkMembers.member],
      set: { config: row.config, status: row.status, message: row.message },
    });

export const updateNetwork = (
  db: Db,
  name: string,
  fields: Partial<Pick<NetworkRow, 'description' | 'config' | 'status'>>,
): Statement => db.update(networks).set(fields).where(eq(networks.name, name));

export const updateNetworkMember = (
  db: Db,
  network: string,
  member: string,
  fields: Partial<Pick<NetworkMemberRow, 'config' | 'status' | 'message'>>,
): Statement =>
  db
    .update(networkMembers)
    .set(fields)
    .where(and(eq(networkMembers.network, network), eq(networkMembers.member, member)));

/** The network and all its members' rows. */
export const deleteNetwork = (db: Db, name: string): Statement[] => [
  db.delete(networkMembers).where(eq(networkMembers.network, name)),
  db.delete(networks).where(eq(networks.name, name)),
];

export const deleteNetworkMember = (db: Db, network: string, member: string): Statement =>
  db.delete(networkMembers).where(and(eq(networkMembers.network, network), eq(networkMembers.member, member)));

/** Every address that networks have or were given, `name` excepted: CIDRs of both families. */
export async function listNetworkAddresses(db: Db, name: string): Promise<string[]> {
  const [own, members] = await db.batch([
    db.select({ config: networks.config }).from(networks).where(ne(networks.name, name)),
    db.select({ config: networkMembers.config }).from(networkMembers).where(ne(networkMembers.network, name)),
  ]);
  return [...own, ...members].flatMap(({ config }) => addressesOf(config));
}

/** The concrete addresses in a config. */
export const addressesOf = (config: Config): string[] =>
  ADDRESS_KEYS.flatMap((key) => config[key] ?? []).filter((value) => value.includes('/'));
