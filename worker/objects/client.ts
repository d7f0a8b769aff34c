/**
 * The Durable Objects over RPC, for services. Our errors do not survive RPC, so objects answer result objects and the
 * `AppError` is made here; an object that cannot be reached is `unavailable`.
 */
import { z } from 'zod';
import { AppError, fromWireError, unavailable, WireError } from '#protocol/errors.ts';
import { QUERIES, type QueryName, type QueryResult } from '#protocol/queries.ts';
import { addTimes } from '#worker/domain/command-times.ts';
import type { Env, Vars } from '#worker/env.ts';
import { shardOf } from '#worker/lib/id.ts';
import type { MemberPresence, Objects, Order } from './contract.ts';
import { FILTER_HEADER } from './event-filter.ts';
import { ADDRESS_HEADER } from './link-address.ts';
import { MemberMetrics } from './member-metrics.ts';

/** For questions that only read a few files on the host. */
const QUERY_TIMEOUT_MS = 10_000;

/** The same table with its types tied to the names. */
const RESULTS: { readonly [N in QueryName]: { readonly result: z.ZodType<QueryResult<N>> } } = QUERIES;

/** RPC types drop what is `unknown`, so the answer is read as what comes over any edge. */
const QueryAnswer = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), result: z.unknown() }),
  z.object({ ok: z.literal(false), error: WireError }),
]);

/** Runs one call to an object; what is not an `AppError` means that the object could not do it now. */
async function reach<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw unavailable(`The ${what} is unavailable`, error);
  }
}

/** Cheap: stubs connect when called. */
export function createObjects(env: Env, vars: Pick<Vars, 'linkShards'>): Objects {
  const cluster = () => env.CLUSTER.get(env.CLUSTER.idFromName('cluster'));
  const shard = (index: number) => env.LINKS.get(env.LINKS.idFromName(`links-${index}`));
  const links = (member: string) => shard(shardOf(member, vars.linkShards));
  const stream = (id: string) => env.STREAM.get(env.STREAM.idFromName(id));
  return {
    cluster: {
      async place(request) {
        const answer = await reach('cluster', async () => await cluster().place(request));
        if (!answer.ok) throw fromWireError(answer.error);
        return answer.placement;
      },
      settle: (instanceId) => reach('cluster', () => cluster().settle(instanceId)),
      publish: (events) => reach('cluster', () => cluster().publish(events)),
      progress: (member, commandId, metadata) =>
        reach('cluster', () => cluster().progress(member, commandId, metadata)),
      waitOperation: (id, timeoutMs) => reach('cluster', () => cluster().waitOperation(id, timeoutMs)),
      connectEvents: (request, filter) =>
        reach('cluster', () => cluster().fetch(withHeader(request, FILTER_HEADER, JSON.stringify(filter)))),
    },
    links: {
      deliver: (member, orders: Order[]) => reach('link', () => links(member).deliver(member, orders)),
      cancel: (member, commandId) => reach('link', () => links(member).cancel(member, commandId)),
      async query(member, name, params, timeoutMs = QUERY_TIMEOUT_MS) {
        const asked = reach('link', async () => await links(member).query(member, name, params, timeoutMs));
        const answer = QueryAnswer.parse(await asked);
        if (!answer.ok) throw fromWireError(answer.error);
        const parsed = RESULTS[name].result.safeParse(answer.result);
        if (parsed.success) return parsed.data;
        throw new AppError('internal', `Unreadable answer of cluster member "${member}"`, { cause: parsed.error });
      },
      async presence() {
        const shards = Array.from({ length: vars.linkShards }, (_, index) => shard(index));
        const answers = await reach('link', () =>
          Promise.all(shards.map(async (stub): Promise<MemberPresence[]> => await stub.presence())),
        );
        return answers.flat();
      },
      state: (member) => reach('link', async () => await links(member).state(member)),
      async metrics(members) {
        const shards = Array.from({ length: vars.linkShards }, (_, index) => shard(index));
        const answers = await reach('link', () => Promise.all(shards.map(async (stub) => await stub.metrics(members))));
        return {
          samples: z.array(MemberMetrics).parse(answers.flatMap(({ samples }) => samples)),
          times: addTimes(answers.flatMap(({ times }) => times)),
        };
      },
      connect: (member, request, address) =>
        reach('link', () => links(member).fetch(withHeader(request, ADDRESS_HEADER, address))),
      remove: (member, removal) => reach('link', () => links(member).remove(member, removal)),
      again: (member) => reach('link', () => links(member).again(member)),
      async rename(member, newName) {
        // First who waits for it, so that a link that never returns is noticed.
        await reach('link', () => links(newName).expect(newName));
        await reach('link', () => links(member).rename(member, newName));
      },
    },
    streams: {
      open: (opening) => reach('stream', () => stream(opening.id).open(opening)),
      connect: (id, request) => reach('stream', () => stream(id).fetch(request)),
      transfer: (id, body) =>
        reach('stream', () => stream(id).fetch('https://stream/transfer', { method: body ? 'PUT' : 'GET', body })),
      abort: (id, reason) => reach('stream', () => stream(id).abort(reason)),
    },
  };
}

/** The upgrade with what is known of the caller; a header of that name from outside is overwritten. */
function withHeader(request: Request, name: string, value: string): Request {
  const headers = new Headers(request.headers);
  headers.set(name, value);
  return new Request(request, { headers });
}
