/**
 * A real database with members in it, and members that answer: what is delivered to an online one runs against a table of
 * answers, and its result is applied as Links does.
 */
import { sql } from 'drizzle-orm';
import type { Command } from '#protocol/commands.ts';
import { AppError, toWireError, unavailable } from '#protocol/errors.ts';
import type { QueryName } from '#protocol/queries.ts';
import type { BlobStore } from '#worker/blobs/store.ts';
import type { ClusterEvent, Objects } from '#worker/objects/contract.ts';
import type { Authorized } from '#worker/services/context.ts';
import { applyResult, listWaitingCommands } from '#worker/state/commands.ts';
import type { Db } from '#worker/state/db.ts';
import { setOffline } from '#worker/state/members.ts';
import { addMember, openTestDb, RESOURCES } from '../state/helpers.ts';

/** What a member makes of a command; throwing is its failure. */
export type Agent = (member: string, command: Command) => unknown;

export interface World {
  ctx: Authorized;
  db: Db;
  /** What members were given, in order. */
  ran: { member: string; command: Command }[];
  events: ClusterEvent[];
  blobs: Map<string, Uint8Array>;
  agent: Agent;
  query: (member: string, name: QueryName, params: unknown) => Promise<unknown>;
  actions(): string[];
  setOnline(member: string, online: boolean): Promise<void>;
}

/** The answers of members where all goes well. */
const willing: Agent = (member, command) => {
  switch (command.name) {
    case 'pool.create':
      return { config: { source: command.params.pool.config.source ?? `/var/lib/${member}` } };
    case 'network.create': {
      const { preferredIpv4, preferredIpv6 } = command.params;
      return {
        config: {
          ...(preferredIpv4 === null ? {} : { 'ipv4.address': preferredIpv4 }),
          ...(preferredIpv6 === null ? {} : { 'ipv6.address': preferredIpv6 }),
        },
      };
    }
    case 'network.update':
      return { config: {} };
    case 'image.inspect':
      return {
        architecture: 'x86_64',
        createdAt: '2023-11-14T22:13:20Z',
        expiresAt: null,
        properties: { os: 'Busybox' },
      };
    default:
      return {};
  }
};

export function memoryBlobs(content: Map<string, Uint8Array>): BlobStore {
  return {
    async put(key, body) {
      content.set(key, new Uint8Array(await new Response(body).arrayBuffer()));
    },
    async get(key) {
      const bytes = content.get(key);
      return bytes === undefined ? null : { body: streamOf(bytes), sizeBytes: bytes.byteLength };
    },
    async delete(key) {
      content.delete(key);
    },
  };
}

export const streamOf = (bytes: Uint8Array, chunkBytes = 1000): ReadableStream<Uint8Array> => {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.byteLength) return controller.close();
      controller.enqueue(bytes.slice(at, at + chunkBytes));
      at += chunkBytes;
    },
  });
};

/** Members by name with whether they are online. */
export async function openWorld(members: Record<string, boolean> = { node1: true, node2: true }): Promise<World> {
  const db = await openTestDb();
  for (const [name, online] of Object.entries(members)) {
    await addMember(db, name, { online, resources: { ...RESOURCES, addresses: [] } });
  }
  const online = { ...members };
  const log = { debug() {}, info() {}, warn() {}, error() {}, with: () => log };
  const world: World = {
    db,
    ran: [],
    events: [],
    blobs: new Map(),
    agent: willing,
    query: () => Promise.reject(unavailable('away')),
    actions: () =>
      world.events.flatMap(({ type, metadata }) => (type === 'lifecycle' ? [String(metadata.action)] : [])),
    async setOnline(member, value) {
      online[member] = value;
      if (!value) {
        await setOffline(db, { member, reason: 'test', now: world.ctx.now() });
        return;
      }
      await db.run(sql`update members set online = 1 where name = ${member}`);
      await run(member, await listWaitingCommands(db, member));
    },
    ctx: {
      db,
      objects: objectsOf(),
      get blobs() {
        return memoryBlobs(world.blobs);
      },
      vars: { publicAddresses: [], serverCertificate: '', linkShards: 1, logLevel: 'error' },
      log,
      now: () => new Date().toISOString(),
      newId: () => crypto.randomUUID(),
      principal: { protocol: 'tls', username: 'admin', address: '', projects: null, member: null },
    },
  };

  async function run(member: string, commands: Command[]): Promise<void> {
    for (const command of commands) {
      if (!online[member]) continue;
      world.ran.push({ member, command });
      let outcome: Parameters<typeof applyResult>[1]['outcome'];
      try {
        outcome = { ok: true, result: world.agent(member, command) };
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        outcome = { ok: false, error: toWireError(error) };
      }
      const followup = await applyResult(db, { member, id: command.id, outcome, now: world.ctx.now() });
      world.events.push(...followup.events);
      for (const key of followup.blobs ?? []) world.blobs.delete(key);
    }
  }

  function objectsOf(): Objects {
    const unused = () => Promise.reject(new Error('not part of this test'));
    return {
      cluster: {
        place: unused,
        settle: unused,
        publish: async (events) => void world.events.push(...events),
        progress: async () => {},
        waitOperation: async () => {},
        connectEvents: unused,
      },
      links: {
        deliver: run,
        cancel: unused,
        query: async (member, name, params) => (await world.query(member, name, params)) as never,
        presence: async () => [],
        state: unused,
        metrics: async () => ({ samples: [], times: [] }),
        connect: unused,
        remove: unused,
        again: async () => {},
        rename: unused,
      },
      streams: { open: unused, connect: unused, transfer: unused, abort: unused },
    };
  }
  return world;
}

/** The refusal of a call, for assertions on code and text. */
export async function refusalOf(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await call.then(
    () => new Error('was not refused'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof AppError)) throw error;
  return { code: error.code, message: error.message };
}
