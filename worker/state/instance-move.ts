/** What moves of instances read and write. An instance has one member at any time; `moving_to` says who is receiving it. */
import { eq, inArray, sql } from 'drizzle-orm';
import { z } from 'zod';
import { type Db, guardDb, type Write } from './db.ts';
import type { NetworkMemberRow, NetworkRow } from './networks.ts';
import type { PoolMemberRow, PoolRow } from './pools.ts';
import { instances, networkMembers, networks, storagePoolMembers, storagePools } from './schema.ts';

/** A member's part in a move, or in a copy to another member, that goes on. */
export interface MoveSide {
  member: string;
  /** Its part. */
  commandId: string;
  role: 'source' | 'target';
  /** The other member. */
  peer: string;
  /** It is there, and has not ended its part. */
  peerStands: boolean;
}

const SideRecord = z.object({ id: z.string(), name: z.string(), peer: z.string(), stands: z.number() });

/** The member's part in the move whose stream this is; null when it has none, or none any more. */
export async function findMoveSide(db: Db, member: string, streamId: string): Promise<MoveSide | null> {
  const peer = sql`coalesce(json_extract(own.params, '$.to'), json_extract(own.params, '$.from'))`;
  const rows = await guardDb(() =>
    db.all<unknown>(sql`select own.id as id, own.name as name, ${peer} as peer,
      exists (select 1 from commands as other where other.member = ${peer} and other.status = 'waiting'
          and other.name in ('instance.send', 'instance.receive', 'instance.create') and other.name <> own.name
          and json_extract(other.params, '$.streamId') = ${streamId})
        and exists (select 1 from members where members.name = ${peer} and members.online = 1) as stands
      from commands as own where own.member = ${member} and own.status = 'waiting'
        and own.name in ('instance.send', 'instance.receive', 'instance.create') and json_extract(own.params, '$.streamId') = ${streamId}`),
  );
  if (rows[0] === undefined) return null;
  const side = SideRecord.parse(rows[0]);
  const role = side.name === 'instance.send' ? 'source' : 'target';
  return { member, commandId: side.id, role, peer: side.peer, peerStands: side.stands !== 0 };
}

/** Pools and networks with what each member has of them: what the new places of instances are made of. */
export interface Places {
  pools: PoolRow[];
  poolMembers: PoolMemberRow[];
  networks: NetworkRow[];
  networkMembers: NetworkMemberRow[];
}

/** As these members have them. */
export async function loadPlaces(db: Db, members: readonly string[]): Promise<Places> {
  const [pools, poolMembers, networkRows, ownNetworks] = await guardDb(() =>
    db.batch([
      db.select().from(storagePools),
      db
        .select()
        .from(storagePoolMembers)
        .where(inArray(storagePoolMembers.member, [...members])),
      db.select().from(networks),
      db
        .select()
        .from(networkMembers)
        .where(inArray(networkMembers.member, [...members])),
    ]),
  );
  return { pools, poolMembers, networks: networkRows, networkMembers: ownNetworks };
}

/** The instance is on its way, unless it is already; for the batch that starts the move. */
export const setMoving = (db: Db, { id, from, to }: { id: string; from: string; to: string }): Write =>
  db
    .update(instances)
    .set({ movingTo: to })
    .where(sql`${eq(instances.id, id)} and ${instances.member} = ${from} and ${instances.movingTo} is null`);
