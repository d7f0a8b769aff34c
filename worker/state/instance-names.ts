/**
 * Names of instances with the addresses they were last reported to have. A stopped or lost instance has none; one on a member
 * that is away keeps what it had. Desired state of every host's DNS, read from what is there: no table of its own.
 */
import { inArray, or, type SQL, sql } from 'drizzle-orm';
import type { InstanceRef } from '#protocol/commands.ts';
import { type InstanceNames, NAME_ADDRESS_LIMIT } from '#protocol/instance-names.ts';
import type { InstanceState } from '#protocol/inventory.ts';
import { type Config, type Devices, expandDevices } from '#worker/domain/config.ts';
import { type Db, guardDb } from './db.ts';
import { instances, profiles } from './schema.ts';

const keyOf = ({ project, name }: InstanceRef) => JSON.stringify([project, name]);

type Networks = InstanceState['network'];

interface Row extends InstanceRef {
  profiles: string[];
  config: Config;
  devices: Devices;
  network: Networks;
}

type Layer = InstanceRef & { config: Config; devices: Devices };

/** Every instance that has addresses, by project and name. */
export async function listInstanceNames(db: Db): Promise<InstanceNames[]> {
  const names = await read(db, inArray(instances.status, ['Running', 'Frozen']));
  return names.filter(({ addresses }) => addresses.length > 0);
}

/** These instances and all of these members, in one round trip; an instance that is not there has no addresses. */
export async function findInstanceNames(
  db: Db,
  refs: readonly InstanceRef[],
  members: readonly string[],
): Promise<InstanceNames[]> {
  const asked = sql`(${instances.project}, ${instances.name}) in
    (select json_extract(value, '$.project'), json_extract(value, '$.name') from json_each(${JSON.stringify(refs)}))`;
  const found = await read(db, members.length === 0 ? asked : or(asked, inArray(instances.member, [...members])));
  const known = new Set(found.map(keyOf));
  const gone = refs.filter((ref) => !known.has(keyOf(ref)));
  return [...found, ...gone.map(({ project, name }) => ({ project, name, addresses: [] }))];
}

async function read(db: Db, which: SQL | undefined): Promise<InstanceNames[]> {
  const isUp = sql`${instances.status} in ('Running', 'Frozen')`;
  const [rows, layers] = await guardDb(() =>
    db.batch([
      db
        .select({
          project: instances.project,
          name: instances.name,
          profiles: instances.profiles,
          config: instances.config,
          devices: instances.devices,
          // Only this part of the state crosses the wire.
          network: sql`case when ${isUp} then json_extract(${instances.state}, '$.network') end`.mapWith(
            (text: string): Networks => JSON.parse(text),
          ),
        })
        .from(instances)
        .where(which)
        .orderBy(instances.project, instances.name),
      db
        .select({
          project: profiles.project,
          name: profiles.name,
          config: profiles.config,
          devices: profiles.devices,
        })
        .from(profiles)
        .where(sql`exists (select 1 from json_each(${profiles.devices}) as device
          where json_extract(device.value, '$.type') in ('nic', 'none'))`),
    ]),
  );
  const byName = new Map(layers.map((layer) => [keyOf(layer), layer]));
  return rows.map((row) => namesOf(row, byName));
}

/** The addresses of each NIC that stands on a bridge. Pure. */
function namesOf(row: Row, layers: ReadonlyMap<string, Layer>): InstanceNames {
  const { project, name, network } = row;
  if (network === null) return { project, name, addresses: [] };
  // A project without profiles of its own uses the default project's.
  const used = row.profiles.flatMap(
    (profile) =>
      layers.get(keyOf({ project, name: profile })) ?? layers.get(keyOf({ project: 'default', name: profile })) ?? [],
  );
  const addresses = Object.entries(expandDevices(used, row.devices)).flatMap(([device, keys]) => {
    const bridge = keys.network || keys.parent;
    if (keys.type !== 'nic' || !bridge) return [];
    const nic = network[keys.name ?? row.config[`volatile.${device}.name`] ?? device];
    return (nic?.addresses ?? [])
      .filter(({ scope }) => scope === 'global')
      .map(({ address }) => ({ network: bridge, address }));
  });
  return { project, name, addresses: addresses.slice(0, NAME_ADDRESS_LIMIT) };
}
