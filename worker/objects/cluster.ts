/**
 * Cluster: where a cluster is serialised. Placement with its reservations, the fan-out of events, waiting for operations.
 *
 * Invariants. Nothing here is the only copy: operations and events are in libSQL before they are published, a lost
 * reservation expires anyway. A listener's rights live in its socket's attachment, set once at the upgrade. Errors never cross
 * RPC as exceptions of ours: `place` answers result objects.
 */
import { DurableObject } from 'cloudflare:workers';
import { toWireError } from '#protocol/errors.ts';
import { isFinal } from '#worker/domain/operation.ts';
import { type Env, parseVars } from '#worker/env.ts';
import { createJobContext } from '#worker/jobs/context.ts';
import { prune } from '#worker/jobs/prune.ts';
import { SWEEP_MS, sweep } from '#worker/jobs/sweep.ts';
import { parseJson } from '#worker/lib/json.ts';
import { createLogger, type Logger } from '#worker/lib/log.ts';
import { type Db, mapDbError, openDb } from '#worker/state/db.ts';
import { readEvents } from '#worker/state/events.ts';
import { findInstanceNames, listInstanceNames } from '#worker/state/instance-names.ts';
import { findOperationOfCommand, operationEvent } from '#worker/state/operations.ts';
import { readPlacement } from '#worker/state/placement.ts';
import type { ClusterEvent, EventFilter, MemberPresence, PlacementRequest } from './contract.ts';
import { createDefinitionFeed } from './definitions.ts';
import { EventFilterSchema, FILTER_HEADER, passes, shownTo } from './event-filter.ts';
import { createNameRoutes } from './name-routes.ts';
import { createNameFeed, type NameNews, newsOf } from './names.ts';
import { type PlaceAnswer, Placer } from './placer.ts';
import { quietly } from './quietly.ts';
import { createReplays, type Replays } from './replay.ts';

/** LXD's keep-alive rhythm. Workers cannot send ping frames; Go clients ignore an event without a type. */
export const KEEPALIVE_MS = 10_000;
const KEEPALIVE_FRAME = '{}';
/** Often enough that finished operations do not pile up between two runs. */
const PRUNE_MS = 10 * 60_000;
/** Finished operations remembered, for a waiter that comes just after the event it waits for. */
const FINISHED_LIMIT = 1_000;

export class Cluster extends DurableObject<Env> {
  readonly #db: Db;
  readonly #log: Logger;
  readonly #placer: Placer;
  readonly #shards: number;
  readonly #names: ReturnType<typeof createNameFeed>;
  readonly #definitions: ReturnType<typeof createDefinitionFeed>;
  readonly #replays: Replays;
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #finished = new Set<string>();
  #sweeping = false;
  /** Nothing can come due before something happens. */
  #idle = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const vars = parseVars(env);
    this.#log = createLogger(vars.logLevel, { object: 'cluster' });
    this.#db = openDb(env, this.#log);
    this.#shards = vars.linkShards;
    this.#placer = new Placer({
      read: (reserved) => readPlacement(this.#db, reserved),
      presence: () => this.#presence(),
      nowMs: () => Date.now(),
    });
    this.#names = createNameFeed({
      find: (refs, members) => findInstanceNames(this.#db, refs, members),
      list: () => listInstanceNames(this.#db),
      tell: createNameRoutes(env, vars).tell,
      log: this.#log,
    });
    this.#definitions = createDefinitionFeed(env, vars, this.#log);
    this.#replays = createReplays((query) => readEvents(this.#db, query), this.#log);
    void ctx.blockConcurrencyWhile(() => this.#wakeAt(Date.now() + SWEEP_MS));
  }

  /** Picks a member and reserves there until `settle`, or for 30 s. */
  async place(request: PlacementRequest): Promise<PlaceAnswer> {
    try {
      return await this.#placer.place(request);
    } catch (error) {
      this.#log.warn('placement.failed', { instance: request.name }, error);
      return { ok: false, error: toWireError(mapDbError(error)) };
    }
  }

  async settle(instanceId: string): Promise<void> {
    this.#placer.settle(instanceId);
  }

  /** Sends events to the listeners that may see them, and wakes those who wait for an operation that is final now. */
  async publish(events: ClusterEvent[]): Promise<void> {
    this.#broadcast(events);
    this.#names.note(newsOf(events));
    this.#definitions.note(events);
    await this.#rouse();
    for (const { type, metadata } of events) {
      const { id, status_code } = metadata;
      if (type !== 'operation' || typeof id !== 'string' || !isFinal(Number(status_code))) continue;
      if (!this.#finished.has(id)) this.#log.info('operation.ended', { operationId: id, status: Number(status_code) });
      this.#remember(id);
      for (const wake of this.#waiters.get(id) ?? []) wake();
    }
  }

  /** Names or addresses of these instances may have changed: every host's DNS is told, soon. */
  async noteNames(news: NameNews): Promise<void> {
    this.#names.note(news);
  }

  /** Shows a running command's progress lines in an event of its operation, if it is this member's. Nothing is written. */
  async progress(member: string, commandId: string, metadata: Record<string, string>): Promise<void> {
    if (this.#listeners().length === 0) return;
    try {
      const row = await findOperationOfCommand(this.#db, { commandId, member });
      if (row === undefined || isFinal(row.status)) return;
      const updatedAt = new Date().toISOString();
      this.#broadcast([operationEvent({ ...row, updatedAt, metadata: { ...row.metadata, ...metadata } })]);
    } catch (error) {
      this.#log.warn('operation.progress.lost', { commandId }, error);
    }
  }

  /** Resolves when the operation's final event has passed, lately or from now on, or after `timeoutMs`. */
  async waitOperation(id: string, timeoutMs: number): Promise<void> {
    if (this.#finished.has(id)) return;
    const waiters = this.#waiters.get(id) ?? new Set<() => void>();
    this.#waiters.set(id, waiters);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => wake(), timeoutMs);
      const wake = () => {
        clearTimeout(timer);
        waiters.delete(wake);
        if (waiters.size === 0) this.#waiters.delete(id);
        resolve();
      };
      waiters.add(wake);
    });
  }

  /** The events websocket; the caller's rights come in a header that only `client.ts` sets. */
  override async fetch(request: Request): Promise<Response> {
    if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket')
      return new Response('Expected a websocket upgrade\n', { status: 400 });
    const filter = EventFilterSchema.safeParse(parseJson(request.headers.get(FILTER_HEADER) ?? ''));
    if (!filter.success) return new Response('Bad event filter\n', { status: 400 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment(filter.data);
    if (filter.data.since !== undefined) void this.#replays.run(server, { ...filter.data, since: filter.data.since });
    await this.#wakeAt(Date.now() + KEEPALIVE_MS);
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Listeners say nothing that matters. */
  override async webSocketMessage(): Promise<void> {}

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005, 1006 and 1015 are never on the wire and cannot be answered.
    if (![1005, 1006, 1015].includes(code)) quietly(() => socket.close(code));
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    quietly(() => socket.close(1011));
  }

  /** One alarm for three deadlines: keep-alive while somebody listens, what comes due, and pruning. */
  override async alarm(): Promise<void> {
    const now = Date.now();
    const listeners = this.#listeners();
    for (const { socket } of listeners) quietly(() => socket.send(KEEPALIVE_FRAME));
    // First: work that hangs on the database must not keep the next one from ringing.
    const due = (await this.ctx.storage.get<number>('prune')) ?? now;
    const next = listeners.length > 0 ? KEEPALIVE_MS : this.#idle ? Math.max(due - now, SWEEP_MS) : SWEEP_MS;
    await this.ctx.storage.setAlarm(now + next);
    if (!this.#idle) this.ctx.waitUntil(this.#sweep());
    if (due <= now) await this.#prune(now);
  }

  /** One at a time, beside the alarm: receivers of webhooks may take their time, listeners cannot wait. */
  async #sweep(): Promise<void> {
    if (this.#sweeping) return;
    this.#sweeping = true;
    try {
      this.#idle = true;
      // What is published from here on ends the idling again.
      if (await sweep(createJobContext(this.env, 'sweep', (events) => this.publish(events)))) await this.#rouse();
    } catch (error) {
      await this.#rouse();
      this.#log.warn('sweep.failed', {}, error);
    } finally {
      this.#sweeping = false;
    }
  }

  /** Sweeps again, now that something has happened. */
  async #rouse(): Promise<void> {
    if (!this.#idle) return;
    this.#idle = false;
    await this.#wakeAt(Date.now() + SWEEP_MS);
  }

  async #prune(now: number): Promise<void> {
    await this.ctx.storage.put('prune', now + PRUNE_MS);
    try {
      await this.publish((await prune(this.#db, new Date(now).toISOString())).events);
    } catch (error) {
      this.#log.warn('prune.failed', {}, error);
    }
  }

  #broadcast(events: readonly ClusterEvent[]): void {
    const listeners = this.#listeners();
    if (listeners.length === 0) return;
    for (const event of events) {
      const text = JSON.stringify(event);
      for (const { socket, filter } of listeners) {
        if (!passes(filter, event)) continue;
        const shown = shownTo(filter, event);
        this.#replays.send(socket, shown, shown === event ? text : JSON.stringify(shown));
      }
    }
  }

  #listeners(): { socket: WebSocket; filter: EventFilter }[] {
    return this.ctx.getWebSockets().flatMap((socket) => {
      if (socket.readyState !== WebSocket.OPEN) return [];
      const filter = EventFilterSchema.safeParse(socket.deserializeAttachment());
      return filter.success ? [{ socket, filter: filter.data }] : [];
    });
  }

  #remember(id: string): void {
    this.#finished.add(id);
    const [oldest] = this.#finished;
    if (this.#finished.size > FINISHED_LIMIT && oldest !== undefined) this.#finished.delete(oldest);
  }

  /** Who is connected, from every shard; a shard that does not answer leaves its members to what the database says. */
  async #presence(): Promise<MemberPresence[]> {
    const shards = Array.from({ length: this.#shards }, (_, index) => `links-${index}`);
    const answers = await Promise.allSettled(
      shards.map((name) => this.env.LINKS.get(this.env.LINKS.idFromName(name)).presence()),
    );
    return answers.flatMap((answer) => {
      if (answer.status === 'fulfilled') return answer.value;
      this.#log.warn('placement.presence.missing', {}, answer.reason);
      return [];
    });
  }

  async #wakeAt(timeMs: number): Promise<void> {
    const current = await this.ctx.storage.getAlarm();
    if (current === null || current > timeMs) await this.ctx.storage.setAlarm(timeMs);
  }
}
