/** The control plane: the real Links object and the real services on a real database, one life after the other. */
import type { Client } from '@libsql/client';
import { drizzle } from 'drizzle-orm/libsql';
import { unavailable } from '#protocol/errors.ts';
import type { Env } from '#worker/env.ts';
import { createObjects } from '#worker/objects/client.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import { Links } from '#worker/objects/links.ts';
import type { Authorized } from '#worker/services/context.ts';
import type { Db } from '#worker/state/db.ts';
import type { Steps } from './steps.ts';
import { type Acceptor, ControlSocket, type Wire } from './wire.ts';

export const MEMBER = 'node1';
const silent = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent };

/** The pair that `new WebSocketPair()` makes: what the object keeps is the second one. */
export class SocketPair {
  readonly 0: ControlSocket;
  readonly 1: ControlSocket;
  constructor() {
    const socket = new ControlSocket();
    this[0] = socket;
    this[1] = socket;
  }
}

/** Node's own refuses to answer an upgrade. */
export class UpgradeResponse {
  readonly webSocket: ControlSocket;
  constructor(_body: null, { webSocket }: { webSocket: ControlSocket }) {
    this.webSocket = webSocket;
  }
}

export interface ControlDeps {
  steps: Steps;
  wire: Wire;
  client: Client;
  /** Everything that was published, by all lives. */
  published: ClusterEvent[];
  /** After each call of the database. */
  onDatabase(): Promise<void>;
}

/** One life of the control plane's process. What it keeps in memory goes with it. */
export class Control implements Acceptor {
  readonly ctx: Authorized;
  readonly #links: Links;
  readonly #sockets = new Set<ControlSocket>();
  readonly #deps: ControlDeps;
  #alarmMs: number | null = null;

  constructor(deps: ControlDeps) {
    this.#deps = deps;
    const env = this.#env();
    const db = this.#database();
    Object.assign(env, { TEST_DB: db });
    this.#links = new Links(this.#state(), env);
    const vars = { publicAddresses: [], serverCertificate: '', linkShards: 1, logLevel: 'error' as const };
    const none = () => Promise.reject(new Error('not part of this test'));
    this.ctx = {
      db,
      objects: createObjects(env, vars),
      blobs: { put: none, get: none, delete: none },
      vars,
      log: silent,
      now: () => new Date().toISOString(),
      newId: () => crypto.randomUUID(),
      principal: { protocol: 'tls', username: 'admin', address: '', projects: null, member: null },
    };
    deps.wire.acceptor = this;
  }

  /** SIGKILL. */
  kill(): void {
    const { steps, wire } = this.#deps;
    steps.kill(this);
    wire.acceptor = null;
    for (const cable of wire.cables) {
      if (cable.acceptor !== this) continue;
      cable.queues.up.length = 0;
      cable.put('down', { close: true });
      cable.acceptor = null;
    }
    for (const socket of this.#sockets) socket.readyState = 3;
  }

  /** What is due by now. */
  look(): void {
    if (this.#alarmMs === null || this.#alarmMs > Date.now()) return;
    this.#alarmMs = null;
    void this.#links.alarm().catch(() => {});
  }

  async accept(url: string): Promise<ControlSocket> {
    const response: unknown = await this.#links.fetch(new Request(url.replace(/^ws/, 'http')));
    if (!(response instanceof UpgradeResponse)) throw new Error('The link was not taken');
    return response.webSocket;
  }

  message(socket: ControlSocket, text: string): void {
    void this.#links.webSocketMessage(asSocket(socket), text).catch(() => {});
  }

  closed(socket: ControlSocket): void {
    this.#sockets.delete(socket);
    void this.#links.webSocketClose(asSocket(socket), 1006).catch(() => {});
  }

  /** The database as this life reaches it: each call takes its time, and may go wrong before or after it was done. */
  #database(): Db {
    const { steps, client, onDatabase } = this.#deps;
    const call = (method: 'execute' | 'batch', args: unknown[]) =>
      new Promise((resolve, reject) => {
        const act = async () => {
          const answer: unknown = await Reflect.apply(client[method], client, args);
          if (method === 'batch') await onDatabase();
          return answer;
        };
        const lost = () => reject(new Error('network connection lost'));
        steps.add({
          owner: this,
          run: () => void act().then(resolve, reject),
          fail: (late) => void (late ? act().then(lost, lost) : lost()),
        });
      });
    return drizzle({
      client: new Proxy(client, {
        get: (target, property) => {
          if (property === 'execute' || property === 'batch') return (...args: unknown[]) => call(property, args);
          const value: unknown = Reflect.get(target, property);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
    });
  }

  /** Objects reach each other at once: what fails between them is the process that they are all in. */
  #env(): Env {
    const ifAlive = <T>(act: () => T): T => {
      if (this.#deps.steps.isDead(this)) throw unavailable('gone');
      return act();
    };
    const parts = {};
    const placement = {
      member: MEMBER,
      strategy: 'spread',
      scores: [{ member: MEMBER, score: 1, parts }],
      rejections: [],
    };
    const cluster = {
      place: async () => ({ ok: true, placement }),
      settle: async () => {},
      publish: async (events: ClusterEvent[]) => ifAlive(() => void this.#deps.published.push(...events)),
      progress: async () => {},
      noteNames: async () => {},
    };
    const env = {
      CLUSTER: { idFromName: () => '', get: () => cluster },
      LINKS: { idFromName: () => '', get: () => ifAlive(() => this.#links) },
      STREAM: {},
      LIBSQL_URL: 'http://db.invalid',
      SIGNING_SECRET: 'bG9uZ3Nob3JlLXRlc3Qtc2lnbmluZy1zZWNyZXQtMzI=',
      PUBLIC_ADDRESSES: '',
      LOG_LEVEL: 'error',
    };
    return env as unknown as Env;
  }

  /** What the runtime gives an object. */
  #state(): DurableObjectState {
    const kept = new Map<string, unknown>();
    const state = {
      id: { name: 'links-0' },
      waitUntil: (work: Promise<unknown>) => void work,
      storage: {
        get: async (key: string) => kept.get(key),
        put: async (key: string, value: unknown) => void kept.set(key, value),
        delete: async (key: string) => kept.delete(key),
        getAlarm: async () => this.#alarmMs,
        setAlarm: async (timeMs: number) => {
          this.#alarmMs = timeMs;
        },
      },
      acceptWebSocket: (socket: ControlSocket, tags: string[]) => {
        socket.tags = tags;
        this.#sockets.add(socket);
      },
      getWebSockets: (tag?: string) =>
        [...this.#sockets].filter((socket) => tag === undefined || socket.tags.includes(tag)),
      setWebSocketAutoResponse: () => {},
      getWebSocketAutoResponseTimestamp: ({ seenMs }: ControlSocket) => (seenMs === null ? null : new Date(seenMs)),
    };
    return state as unknown as DurableObjectState;
  }
}

const asSocket = (socket: ControlSocket) => socket as unknown as WebSocket;
