/**
 * Links: holds the agents' websockets of its shard, delivers commands, takes results, judges presence.
 *
 * Invariants. A command is in libSQL before it is sent and is read again at every hello, so nothing is lost when this object
 * goes. Identity lives in a socket's attachment and is set once, after the handshake; results and inventory count only for
 * that member. At most one socket of a member is `up`: the newest. Memory is a cache: queries in flight, last frames.
 */
import { DurableObject } from 'cloudflare:workers';
import { conflict, forbidden, toWireError } from '#protocol/errors.ts';
import { type AgentFrame, HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from '#protocol/frames.ts';
import type { QueryName } from '#protocol/queries.ts';
import { protocolOfQuery } from '#protocol/since.ts';
import { BACKUP_PROTOCOL, NAMES_PROTOCOL, PROTOCOL_VERSION } from '#protocol/version.ts';
import { createBlobStore } from '#worker/blobs/index.ts';
import { type CommandTimes, createCommandClock } from '#worker/domain/command-times.ts';
import { BLOCKED_REASON, placeOf } from '#worker/domain/member.ts';
import { type Env, parseVars } from '#worker/env.ts';
import { shardOf } from '#worker/lib/id.ts';
import { createLogger, type Logger } from '#worker/lib/log.ts';
import { issueSession, SESSION_RENEW_MS } from '#worker/lib/session.ts';
import { type Db, openDb } from '#worker/state/db.ts';
import type { Followup } from '#worker/state/followup.ts';
import { applyHostEvents } from '#worker/state/host-events.ts';
import { listInstanceNames } from '#worker/state/instance-names.ts';
import { applyInventory } from '#worker/state/inventory.ts';
import { recordHello, setOffline, setResources } from '#worker/state/members.ts';
import { listCancelling } from '#worker/state/operations.ts';
import { createObjects } from './client.ts';
import type { MemberPresence, Objects, Order, ToldState } from './contract.ts';
import { ADDRESS_HEADER } from './link-address.ts';
import { admit } from './link-admission.ts';
import { tooOldFor } from './link-age.ts';
import { createLinkMetrics, type LinkMetrics } from './link-metrics.ts';
import { createOrders, type Orders } from './link-orders.ts';
import { createPresence, type Presence } from './link-presence.ts';
import { away, createQueries, type QueryAnswer } from './link-queries.ts';
import { createRivals, type Rivals } from './link-rivals.ts';
import {
  type Attachment,
  attach,
  attachmentOf,
  CLOSE_RETRY,
  createLinkSockets,
  noteFrame,
  parseFrame,
} from './link-sockets.ts';
import type { MemberMetrics } from './member-metrics.ts';
import { createNameRoutes, type NameRoutes } from './name-routes.ts';
import { createNameGreeter, type NameGreeter, type NamesFrame } from './names.ts';
import { HANDSHAKE_LIMIT_MS } from './presence.ts';
import { quietly } from './quietly.ts';

/** Where a member's figures are kept while nobody looks; rebuilt by its next report. */
const stateKey = (member: string) => `state:${member}`;

export class Links extends DurableObject<Env> {
  readonly #db: Db;
  readonly #objects: Objects;
  readonly #log: Logger;
  readonly #sockets: ReturnType<typeof createLinkSockets>;
  readonly #queries = createQueries();
  readonly #greeter: NameGreeter;
  readonly #names: NameRoutes;
  readonly #orders: Orders;
  readonly #presence: Presence;
  readonly #metrics: LinkMetrics;
  readonly #clock = createCommandClock();
  readonly #rivals: Rivals;
  /** One member's results and reports are applied in the order they came. */
  readonly #turns = new Map<string, Promise<void>>();
  /** Links of which something could not be applied: what came after it comes again, in its order. */
  readonly #failed = new WeakSet<WebSocket>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const vars = parseVars(env);
    this.#log = createLogger(vars.logLevel, { object: 'links' });
    this.#db = openDb(env, this.#log);
    this.#objects = createObjects(env, vars);
    this.#sockets = createLinkSockets(ctx, this.#log);
    this.#greeter = createNameGreeter({ list: () => listInstanceNames(this.#db), log: this.#log });
    this.#names = createNameRoutes(env, vars);
    const follow = (followup: Followup) => this.#follow(followup);
    this.#metrics = createLinkMetrics(this.#sockets);
    const { note: noteTime } = this.#clock;
    this.#orders = createOrders({ db: this.#db, log: this.#log, sockets: this.#sockets, follow, noteTime });
    this.#rivals = createRivals({ db: this.#db, log: this.#log, sockets: this.#sockets });
    const index = Number((ctx.id.name ?? 'links-0').replace('links-', ''));
    this.#presence = createPresence({
      db: this.#db,
      log: this.#log,
      sockets: this.#sockets,
      isMine: (member) => shardOf(member, vars.linkShards) === index,
      follow,
      wakeAt: (timeMs) => this.#wakeAt(timeMs),
    });
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE));
  }

  /** The agent's upgrade. The route has checked nothing but the name's form: the handshake proves who it is. */
  override async fetch(request: Request): Promise<Response> {
    const member = new URL(request.url).searchParams.get('member') ?? '';
    const client = this.#sockets.accept(member, request.headers.get(ADDRESS_HEADER) ?? '');
    await this.#wakeAt(Date.now() + HANDSHAKE_LIMIT_MS);
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Sends commands to the member's link; without one they wait in libSQL. */
  async deliver(member: string, orders: Order[]): Promise<void> {
    const socket = this.#sockets.up(member);
    if (socket !== undefined) await this.#orders.send(socket, member, orders);
  }

  async cancel(member: string, id: string): Promise<void> {
    const socket = this.#sockets.up(member);
    if (socket !== undefined) this.#sockets.send(socket, { type: 'cancel', id });
  }

  /** Never throws: errors do not keep their class across RPC. */
  async query(member: string, name: QueryName, params: unknown, timeoutMs: number): Promise<QueryAnswer> {
    const socket = this.#sockets.up(member);
    if (socket === undefined) return { ok: false, error: away(member) };
    const attachment = attachmentOf(socket);
    if (attachment !== null && (attachment.blocked || attachment.protocol < protocolOfQuery(name))) {
      return { ok: false, error: tooOldFor(attachment, name) };
    }
    return this.#queries.ask(member, timeoutMs, (id) =>
      this.#sockets.send(socket, { type: 'query', id, name, params }),
    );
  }

  /** Names for every host's DNS. Who is away gets all of them at its hello. */
  async tellNames(frames: NamesFrame[]): Promise<void> {
    for (const { socket, attachment } of this.#sockets.list()) {
      if (attachment.phase !== 'up' || attachment.protocol < NAMES_PROTOCOL) continue;
      for (const frame of frames) this.#tellNames(socket, frame);
    }
  }

  #tellNames(socket: WebSocket, frame: NamesFrame): void {
    if (attachmentOf(socket)?.phase === 'up') quietly(() => this.#sockets.send(socket, frame));
  }

  async presence(): Promise<MemberPresence[]> {
    const now = Date.now();
    return this.#sockets
      .list()
      .filter(({ view }) => view.phase === 'up' && view.lastSeenMs + this.#presence.silenceMs() > now)
      .map(({ attachment: { member, blocked, load } }) => ({ member, online: !blocked, blocked, load }));
  }

  /** The member was removed: its agent is told for good. */
  async remove(member: string, { reason, cleanUp }: { reason: string; cleanUp: boolean }): Promise<void> {
    const error = toWireError(forbidden(reason));
    this.#sockets.refuseAll(member, { error, retry: false, removed: { cleanUp } });
    await this.#forget(member);
  }

  /** The member is called `newName` from now on: its agent comes again under it. */
  async rename(member: string, newName: string): Promise<void> {
    const error = toWireError(conflict(`Cluster member "${member}" is called "${newName}" now`));
    this.#sockets.refuseAll(member, { error, retry: true, renamed: newName });
    await this.#forget(member);
  }

  /** The member's rows are not what it was welcomed with: it connects anew and tells everything. */
  async again(member: string): Promise<void> {
    const socket = this.#sockets.up(member);
    if (socket === undefined) return;
    quietly(() => socket.close(CLOSE_RETRY, 'connect anew'));
    await this.#lost(socket);
  }

  /** Definitions have changed: every host's copy of them is old. */
  async tellChanged(): Promise<void> {
    for (const { socket, attachment } of this.#sockets.list()) {
      if (attachment.phase !== 'up' || attachment.protocol < BACKUP_PROTOCOL) continue;
      quietly(() => this.#sockets.send(socket, { type: 'changed' }));
    }
  }

  /** A member is about to connect; one that does not is offline. */
  async expect(member: string): Promise<void> {
    if (this.#sockets.up(member) === undefined) await this.#presence.await(member);
  }

  /** What the member last told of its host, and when; null: nothing yet. */
  async state(member: string): Promise<ToldState | null> {
    return (await this.ctx.storage.get<ToldState>(stateKey(member))) ?? null;
  }

  /** Samples of running instances, and how long commands took. */
  async metrics(members: readonly string[] | null): Promise<{ samples: MemberMetrics[]; times: CommandTimes[] }> {
    return { samples: await this.#metrics.read(members), times: this.#clock.read() };
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const attachment = attachmentOf(socket);
    if (attachment === null || attachment.phase === 'closed') return;
    const frame = parseFrame(message);
    if ('error' in frame) {
      this.#log.warn('link.frame.bad', { member: attachment.member, reason: frame.error.message });
      this.#sockets.send(socket, { type: 'error', error: frame.error });
      return;
    }
    noteFrame(this.#log, attachment, 'in', frame.frame.type);
    if (attachment.phase === 'challenge') {
      if (frame.frame.type === 'hello') await this.#hello(socket, attachment, frame.frame);
      else this.#sockets.refuse(socket, { error: { code: 'forbidden', message: 'Expected a hello' }, retry: true });
      return;
    }
    this.#sockets.heard(attachment.member);
    await this.#take(socket, attachment, frame.frame);
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005, 1006 and 1015 are never on the wire and cannot be answered.
    if (![1005, 1006, 1015].includes(code)) quietly(() => socket.close(code));
    await this.#lost(socket);
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.#lost(socket);
  }

  /** One alarm for all deadlines: handshakes, silence, links that may still come back, sessions to renew, what was never sent. */
  override async alarm(): Promise<void> {
    try {
      await this.#presence.judge();
      await this.#renewSessions();
      this.ctx.waitUntil(this.#sweep());
    } catch (error) {
      this.#log.error('links.alarm.failed', {}, error);
      await this.#wakeAt(Date.now() + 1_000);
    }
  }

  /** Beside the alarm: the next judgement must not wait for libSQL. The next alarm tries again. */
  async #sweep(): Promise<void> {
    try {
      await this.#orders.sweep();
    } catch (error) {
      this.#log.warn('links.sweep.failed', {}, error);
    }
  }

  async #hello(socket: WebSocket, attachment: Attachment, hello: Extract<AgentFrame, { type: 'hello' }>) {
    const { member, nonce } = attachment;
    const { bootId } = hello;
    const comer = { member, bootId, place: placeOf(hello.resources.addresses, attachment.place) };
    try {
      const admission = await admit(this.#db, hello, { member, nonce }, attachment.place);
      const refusal = admission.ok ? await this.#rivals.judge(comer, admission.isBarred) : admission.refusal;
      if (!admission.ok || refusal !== null) {
        this.#log.warn('link.refused', { member, reason: refusal?.error.message });
        if (refusal !== null) this.#sockets.refuse(socket, refusal);
        return;
      }
      const now = new Date().toISOString();
      const { epoch, processId, version, protocol, resources } = hello;
      const { publicKey, wasRenamed, blocked } = admission;
      if (blocked) {
        this.#log.warn('link.blocked', { member, protocol });
        // For everybody else it is as if the member were away: nothing waits for it.
        await this.#follow(
          await setOffline(this.#db, { member, reason: BLOCKED_REASON, agent: { version, protocol }, now }),
        );
      }
      const told = { member, epoch, processId, version, protocol, blocked, resources, wasRenamed, now };
      const followup = await recordHello(this.#db, told);
      this.#sockets.replaceOlder(socket, member);
      const session = await issueSession(this.env, member, publicKey);
      this.#orders.hold(socket);
      attach(socket, {
        ...attachment,
        phase: 'up',
        nonce: '',
        sessionMs: Date.now(),
        load: hello.load,
        protocol,
        blocked,
        publicKey,
        bootId,
        place: comer.place,
      });
      this.#presence.settle(member);
      this.#sockets.heard(member);
      // It may have gone while libSQL was asked: then it is lost like any link.
      if (socket.readyState !== WebSocket.OPEN) return await this.#lost(socket);
      this.#sockets.send(socket, { type: 'welcome', session, protocol: PROTOCOL_VERSION });
      // After `up`: whatever is written from now on is also sent by `deliver`; the agent ignores what it has already.
      await Promise.all([this.#follow(followup), this.#orders.greet(socket, member)]);
      // A cancel that went into a dying link is said again.
      for (const id of await listCancelling(this.#db, member)) this.#sockets.send(socket, { type: 'cancel', id });
      if (protocol >= NAMES_PROTOCOL) this.#greeter.greet((frame) => this.#tellNames(socket, frame));
    } catch (error) {
      this.#log.error('link.hello.failed', { member }, error);
      this.#sockets.refuse(socket, { error: toWireError(error), retry: true });
    } finally {
      this.#orders.release(socket);
      this.#rivals.settle(comer);
    }
  }

  async #take(socket: WebSocket, attachment: Attachment, frame: AgentFrame): Promise<void> {
    const { member } = attachment;
    switch (frame.type) {
      case 'answer':
        this.#queries.answer(member, frame.id, frame.outcome as QueryAnswer);
        return;
      case 'load':
        attach(socket, { ...attachment, load: frame.load });
        if (frame.state === undefined) return;
        await this.ctx.storage.put<ToldState>(stateKey(member), { state: frame.state, toldMs: Date.now() });
        return;
      case 'metrics':
        this.#metrics.take(member, frame);
        return;
      case 'ack':
        return;
      case 'progress':
        await this.#objects.cluster.progress(member, frame.id, frame.metadata);
        return;
      case 'error':
        this.#log.warn('link.peer.error', { member, reason: frame.error.message });
        return;
      case 'hello':
        this.#sockets.send(socket, { type: 'error', error: { code: 'bad_request', message: 'The handshake is over' } });
        return;
      case 'resources':
        return this.#inTurn(socket, member, () => setResources(this.#db, member, frame.resources));
      case 'inventory':
        return this.#inTurn(socket, member, async () => {
          const now = new Date().toISOString();
          await this.#follow(
            await applyInventory(this.#db, { member, full: frame.full, instances: frame.instances, now }),
          );
          const refs = frame.instances.map(({ project, name }) => ({ project, name }));
          await this.#names.note({ refs, members: frame.full ? [member] : [], all: false });
        });
      case 'events':
        return this.#inTurn(socket, member, async () => {
          const now = new Date().toISOString();
          await this.#follow(await applyHostEvents(this.#db, { member, events: frame.events, now }));
          const last = frame.events.at(-1);
          if (last !== undefined) this.#sockets.send(socket, { type: 'events-ack', seq: last.seq });
        });
      case 'result':
        return this.#inTurn(socket, member, async () => {
          await this.#orders.take(attachment, frame.id, frame.outcome);
          this.#sockets.send(socket, { type: 'result-ack', id: frame.id });
        });
    }
  }

  /**
   * Runs `work` after the member's earlier ones. When it cannot be done (database away) the whole link is dropped: the
   * agent comes back and sends again what was not acknowledged.
   */
  #inTurn(socket: WebSocket, member: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(member) ?? Promise.resolve()).then(async () => {
      if (this.#failed.has(socket)) return;
      try {
        await work();
      } catch (error) {
        this.#failed.add(socket);
        this.#log.error('link.apply.failed', { member }, error);
        quietly(() => socket.close(CLOSE_RETRY, 'try again'));
        await this.#lost(socket);
      }
    });
    this.#turns.set(member, turn);
    return turn;
  }

  async #follow(followup: Followup): Promise<void> {
    await Promise.all([
      followup.events.length > 0 ? this.#objects.cluster.publish(followup.events) : undefined,
      ...followup.deliveries.map(({ member, orders }) => this.#objects.links.deliver(member, orders)),
      ...(followup.blobs ?? []).map((key) => createBlobStore(this.env).delete(key)),
    ]);
  }

  async #lost(socket: WebSocket): Promise<void> {
    const attachment = attachmentOf(socket);
    if (attachment === null || attachment.phase !== 'up') return;
    attach(socket, { ...attachment, phase: 'closed' });
    const { member } = attachment;
    this.#queries.fail(member);
    this.#metrics.drop(member);
    if (this.#sockets.up(member) !== undefined) return;
    this.#orders.drop(member);
    await this.#presence.await(member);
  }

  /** Nobody of this name is expected any more. */
  async #forget(member: string): Promise<void> {
    this.#presence.settle(member);
    this.#queries.fail(member);
    this.#metrics.drop(member);
    this.#orders.drop(member);
    await this.ctx.storage.delete(stateKey(member));
  }

  async #renewSessions(): Promise<void> {
    const now = Date.now();
    for (const { socket, attachment } of this.#sockets.list()) {
      if (attachment.phase !== 'up' || now - attachment.sessionMs < SESSION_RENEW_MS) continue;
      this.#sockets.send(socket, {
        type: 'session',
        session: await issueSession(this.env, attachment.member, attachment.publicKey),
      });
      attach(socket, { ...attachment, sessionMs: now });
    }
  }

  async #wakeAt(timeMs: number): Promise<void> {
    const current = await this.ctx.storage.getAlarm();
    if (current === null || current > timeMs) await this.ctx.storage.setAlarm(timeMs);
  }
}
