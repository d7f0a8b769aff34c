/**
 * The Durable Objects as services see them: one interface, so that services never name a namespace or a stub.
 * `client.ts` implements it over RPC.
 */
import type { Command, CommandName, CommandParams } from '#protocol/commands.ts';
import type { HostLoad, HostState } from '#protocol/inventory.ts';
import type { QueryName, QueryParams, QueryResult } from '#protocol/queries.ts';
import type { CommandTimes } from '#worker/domain/command-times.ts';
import type { MemberMetrics } from './member-metrics.ts';

export type { MemberMetrics } from './member-metrics.ts';

/** An event as LXD's sockets carry it (lxd-api 3.3). `metadata` is an API operation or a lifecycle object. */
export interface ClusterEvent {
  type: 'operation' | 'lifecycle' | 'logging';
  /** Of lifecycle events, which are kept: their place in order, to go on from later. */
  id?: number;
  timestamp: string;
  location: string;
  /** Absent: every listener gets it. */
  project?: string;
  metadata: Record<string, unknown>;
}

export interface PlacementRequest {
  instanceId: string;
  project: string;
  name: string;
  architecture: string;
  pool: string;
  networks: string[];
  imageFingerprint: string | null;
  memoryBytes: number;
  /** `--target`: a member's name, `@group`, or null. */
  target: string | null;
  /** A member that is not to take it: where it comes from. */
  avoid?: string;
}

export interface Rejection {
  member: string;
  reason: string;
}

export interface Placement {
  member: string;
  strategy: 'spread' | 'pack';
  /** Best first, with what each score is made of. */
  scores: { member: string; score: number; parts: Record<string, number> }[];
  rejections: Rejection[];
}

export interface MemberPresence {
  member: string;
  online: boolean;
  /** Connected, but its agent is too old to be given commands. */
  blocked?: boolean;
  load: HostLoad | null;
}

/** A host's figures and when they came, by the control plane's clock. */
export interface ToldState {
  state: HostState;
  toldMs: number;
}

/** What opens a Stream object: who may connect to it. */
export interface StreamOpening {
  id: string;
  member: string;
  kind: 'exec' | 'file' | 'sftp';
  /** exec, sftp: fd name ('0', '1', '2', 'control') → SHA-256 hex of its secret. */
  fds: Record<string, string>;
  /** What comes from the member goes to the client's socket 0. */
  interactive: boolean;
}

export interface Objects {
  cluster: {
    /** Picks a member and reserves there until `settle`, or for 30 s. Throws `AppError` (404, 403, 503) when none can take it. */
    place(request: PlacementRequest): Promise<Placement>;
    /** The instance's row is written, or will never be. */
    settle(instanceId: string): Promise<void>;
    publish(events: ClusterEvent[]): Promise<void>;
    /** Progress lines of a running command of this member: shown in its operation's events, not written. */
    progress(member: string, commandId: string, metadata: Record<string, string>): Promise<void>;
    /** Resolves when an event with a final status of this operation passes, or after `timeoutMs`. Look again afterwards. */
    waitOperation(id: string, timeoutMs: number): Promise<void>;
    /** The events websocket: the upgrade request with what the caller may see. */
    connectEvents(request: Request, filter: EventFilter): Promise<Response>;
  };
  links: {
    /** The orders are in libSQL already; sends them when the member is connected, else they wait there. */
    deliver(member: string, orders: Order[]): Promise<void>;
    /** Asks the member to stop a command it has accepted. */
    cancel(member: string, commandId: string): Promise<void>;
    /** Throws `unavailable` when the member is away or silent for `timeoutMs`; the member's own `AppError` otherwise. */
    query<N extends QueryName>(
      member: string,
      name: N,
      params: QueryParams<N>,
      timeoutMs?: number,
    ): Promise<QueryResult<N>>;
    presence(): Promise<MemberPresence[]>;
    /** What the member last told of its host; null when it has not yet. Nobody is asked. */
    state(member: string): Promise<ToldState | null>;
    /** Fresh samples (`members` null: of all), and how long commands took. The first look waits a moment for them. */
    metrics(members: readonly string[] | null): Promise<{ samples: MemberMetrics[]; times: CommandTimes[] }>;
    /** The agent's link upgrade, routed to the member's shard. `address`: where it comes from. */
    connect(member: string, request: Request, address: string): Promise<Response>;
    /** Tells the agent that its member was removed, and closes its link. `cleanUp`: nothing was there. */
    remove(member: string, removal: { reason: string; cleanUp: boolean }): Promise<void>;
    /** Has the agent connect anew, with all that it has to tell. */
    again(member: string): Promise<void>;
    /** Tells the agent its new name, under which it returns at once. The member's rows have it already. */
    rename(member: string, newName: string): Promise<void>;
  };
  streams: {
    open(opening: StreamOpening): Promise<void>;
    /** A client's or the agent's websocket for this stream; the object checks the secret or the member. */
    connect(id: string, request: Request): Promise<Response>;
    /**
     * A file transfer: `body` is the content for a put, the response carries the content of a get. The agent is told by
     * `links.query('file.open')`, at the same time. The answer's head is in the header `FILE_HEAD_HEADER` as JSON.
     */
    transfer(id: string, body: ReadableStream<Uint8Array> | null): Promise<Response>;
    abort(id: string, reason: string): Promise<void>;
  };
}

export interface EventFilter {
  types: string[] | null;
  /** Null: all projects. */
  project: string | null;
  admin: boolean;
  /** May look only: gets no secrets of streams. */
  readOnly?: boolean | undefined;
  /** Kept events after this one come first. */
  since?: number;
}

/** A command on its way to its member, with what its row says of it: who keeps this need not read the row again. */
export type Order = Command & { operationId: string | null; createdAt: string };

/** A command before it has an id. */
export type NewCommand = {
  [N in CommandName]: { member: string; name: N; params: CommandParams<N> };
}[CommandName];
