/**
 * Stream: joins the agent's socket of one exec or SFTP session with its client's sockets, the two sides of a file transfer
 * (`Transfer`), or the two members between which an instance moves (`Relay`).
 *
 * Invariants. Nothing here is durable: when the object goes, the sockets go, the agent kills what it ran and the command's
 * result ends the operation. Bytes towards the agent are bounded by a credit window. What an evicted object must still know
 * of an idle session stands in the sockets' attachments.
 */
import { DurableObject } from 'cloudflare:workers';
import { readControl } from '#protocol/api/instance-exec.ts';
import {
  AppError,
  badRequest,
  forbidden,
  notFound,
  toWireError,
  unavailable,
  type WireError,
} from '#protocol/errors.ts';
import {
  AgentStreamFrame,
  CHANNEL_INPUT,
  CHANNEL_STDERR,
  CHANNEL_STDOUT,
  CHUNK_BYTES,
  type ControlStreamFrame,
  encodeChunk,
} from '#protocol/stream.ts';
import { type Env, parseVars } from '#worker/env.ts';
import { sha256Hex, timingSafeEqual } from '#worker/lib/crypto.ts';
import { parseJson } from '#worker/lib/json.ts';
import { openDb } from '#worker/state/db.ts';
import { findMoveSide } from '#worker/state/instance-move.ts';
import { createObjects } from './client.ts';
import type { StreamOpening } from './contract.ts';
import { quietly } from './quietly.ts';
import { Relay } from './relay.ts';
import { SendWindow } from './stream-window.ts';
import { Transfer } from './transfer.ts';

/** LXD's limit for exec's websockets; file transfers get the same for the agent's first request. */
const CONNECT_LIMIT_MS = 5_000;
/**
 * Input that came before the program could take it. Client websockets know no back-pressure, so beyond this the session
 * is ended rather than the object's memory (128 MB on the platform).
 */
const INPUT_LIMIT_BYTES = 48 * 1024 * 1024;
/**
 * Clients close their sockets when they have read the end of what comes. The runtime lets go at once of a connection that its
 * peer closed first, and only some 10 s later of one that we did: pylxd, which reads on until the connection is gone, would
 * take that long for every program.
 */
const CLIENT_CLOSE_MS = 1_500;

type Attachment = { role: 'agent' } | { role: 'client'; fd: string; interactive: boolean };

export class Stream extends DurableObject<Env> {
  #opening: StreamOpening | null = null;
  #used = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #failure: AppError | null = null;
  readonly #window = new SendWindow();
  /** Input for the agent in order; null is its end. */
  #input: (Uint8Array | null)[] = [];
  #inputBytes = 0;
  #started = false;
  /** The program has ended, and its clients have been told. */
  #isOver = false;
  readonly #transfer = new Transfer();
  readonly #relay = new Relay({
    reset: () => this.ctx.abort('A part of a moving instance did not end'),
    cancel: ({ member, commandId }) => {
      const { links } = createObjects(this.env, parseVars(this.env));
      // Unreachable, it finds out by the silence.
      this.ctx.waitUntil(links.cancel(member, commandId).catch(() => {}));
    },
  });

  async open(opening: StreamOpening): Promise<void> {
    this.#opening = opening;
    this.#timer = setTimeout(() => this.#timeOut(), CONNECT_LIMIT_MS);
  }

  /** Ends the stream from our side: the agent kills what runs, waiting requests fail with `reason`. */
  async abort(reason: string): Promise<void> {
    this.#fail(unavailable(reason));
  }

  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === '/transfer') return answer(() => this.#transfer.join(request));
    if (url.pathname.startsWith('/agent/')) return answer(() => this.#fromMember(request));
    return this.#connectClient(url.searchParams.get('secret') ?? '');
  }

  async #fromMember(request: Request): Promise<Response> {
    const opening = this.#opening;
    if (opening === null) return this.#serveMove(request);
    if (this.#failure !== null) throw notFound('Stream');
    if (request.headers.get('x-longshore-member') !== opening.member) throw forbidden();
    if (opening.kind !== 'file') return this.#connectAgent(request);
    this.#begin();
    return this.#transfer.serveAgent(request);
  }

  /** A move needs no opening: its commands say who may take part, also when this object has just been made again. */
  async #serveMove(request: Request): Promise<Response> {
    const member = request.headers.get('x-longshore-member') ?? '';
    // Ids are UUIDs: nothing to decode.
    const streamId = new URL(request.url).pathname.split('/')[3] ?? '';
    const find = () => findMoveSide(openDb(this.env), member, streamId);
    const side = await find();
    if (side === null) throw notFound('Stream');
    return this.#relay.serve(request, side, find);
  }

  #connectAgent(request: Request): Response {
    if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') throw badRequest('This stream is a websocket');
    if (this.#agent() !== undefined) throw forbidden('The stream is connected already');
    const response = this.#accept(['agent'], { role: 'agent' });
    this.#startWhenReady();
    return response;
  }

  async #connectClient(secret: string): Promise<Response> {
    const opening = this.#opening;
    if (opening === null || this.#failure !== null) return refusal(notFound('Operation'));
    const hash = await sha256Hex(secret);
    const fd = Object.entries(opening.fds).find(([, expected]) => timingSafeEqual(expected, hash))?.[0];
    if (fd === undefined || this.#used.has(fd)) return refusal(forbidden());
    this.#used.add(fd);
    const response = this.#accept([`fd:${fd}`], { role: 'client', fd, interactive: opening.interactive });
    this.#startWhenReady();
    return response;
  }

  #accept(tags: string[], attachment: Attachment): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, tags);
    server.serializeAttachment(attachment);
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Starts when the agent and every client socket that the start needs are there (lxd-api 7.2). */
  #startWhenReady(): void {
    const opening = this.#opening;
    if (this.#started || opening === null || opening.kind === 'file') return;
    const needed = opening.kind === 'sftp' ? ['0'] : opening.interactive ? ['0', 'control'] : ['0', '1', '2'];
    if (this.#agent() === undefined || !needed.every((fd) => this.#used.has(fd))) return;
    this.#begin();
    this.#tell({ type: 'start' });
    this.#pumpInput();
  }

  #begin(): void {
    this.#started = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const from = attachmentOf(socket);
    if (from.role === 'agent') return this.#fromAgent(socket, message);
    if (from.fd === 'control') {
      const frame = readControl(message);
      if (frame !== null) this.#tell(frame);
      return;
    }
    if (from.fd !== '0') return;
    if (typeof message !== 'string') this.#queueInput(new Uint8Array(message));
    else if (message === '') this.#queueInput(null);
    else this.#queueInput(new TextEncoder().encode(message));
    this.#pumpInput();
  }

  #fromAgent(socket: WebSocket, message: string | ArrayBuffer): void {
    if (typeof message !== 'string') {
      this.#chunk(socket, new Uint8Array(message));
      return;
    }
    const parsed = AgentStreamFrame.safeParse(parseJson(message));
    if (!parsed.success) return;
    const frame = parsed.data;
    switch (frame.type) {
      case 'credit':
        this.#window.give(frame.bytes);
        this.#pumpInput();
        return;
      case 'end':
        this.#isOver = true;
        this.#output(frame.channel)?.send('');
        return;
    }
  }

  /** Output of a program goes to its client socket; credit follows what was taken. */
  #chunk(agent: WebSocket, message: Uint8Array): void {
    const channel = message[0] ?? CHANNEL_STDOUT;
    const bytes = message.subarray(1);
    try {
      this.#output(channel)?.send(bytes);
    } catch {
      tell(agent, { type: 'abort', reason: 'The client is gone' });
      return;
    }
    if (bytes.length > 0) tell(agent, { type: 'credit', channel, bytes: bytes.length });
  }

  #output(channel: number): WebSocket | undefined {
    const interactive = this.#client('0')?.attachment.interactive === true;
    if (channel === CHANNEL_STDERR) return this.#client('2')?.socket;
    return this.#client(interactive ? '0' : '1')?.socket;
  }

  #queueInput(bytes: Uint8Array | null): void {
    this.#input.push(bytes);
    this.#inputBytes += bytes?.length ?? 0;
    if (this.#inputBytes > INPUT_LIMIT_BYTES)
      this.#fail(new AppError('too_large', 'The input comes faster than it is read'));
  }

  #pumpInput(): void {
    const agent = this.#agent();
    // After an eviction the session goes on: what is connected has been started.
    if (agent === undefined || (this.#opening !== null && !this.#started)) return;
    while (this.#input.length > 0 && this.#window.free > 0) {
      const next = this.#input.shift();
      if (next === null || next === undefined) {
        tell(agent, { type: 'end', channel: CHANNEL_INPUT });
        continue;
      }
      this.#inputBytes -= next.length;
      for (let at = 0; at < next.length; at += CHUNK_BYTES) {
        agent.send(encodeChunk(CHANNEL_INPUT, next.subarray(at, at + CHUNK_BYTES)));
      }
      this.#window.take(next.length);
    }
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    if (![1005, 1006, 1015].includes(code)) quietly(() => socket.close(code));
    this.#gone(socket);
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    this.#gone(socket);
  }

  #gone(socket: WebSocket): void {
    const who = attachmentOf(socket);
    if (who.role === 'agent') {
      // Behind a terminal sits somebody who waits for the prompt.
      const isAwaited = this.#client('0')?.attachment.interactive === true;
      if (this.#isOver && !isAwaited) setTimeout(() => this.#closeClients(), CLIENT_CLOSE_MS);
      else this.#closeClients();
      return;
    }
    // The control socket is the client's life; a terminal's data socket is as good as it.
    if (who.fd === 'control') this.#tell({ type: 'abort', reason: 'The client is gone' });
    else if (who.fd === '0') {
      this.#queueInput(null);
      this.#pumpInput();
    }
  }

  #timeOut(): void {
    this.#fail(
      this.#opening?.kind === 'exec'
        ? new AppError('failed', 'Timed out waiting for websockets to connect')
        : unavailable('The cluster member did not open the stream in time'),
    );
  }

  #fail(error: AppError): void {
    this.#failure ??= error;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#tell({ type: 'abort', reason: error.message });
    this.#transfer.fail(error);
    this.#relay.fail(error);
    this.#closeClients();
  }

  /** Without a status code: some clients take any other close for an error (lxd-api 7.1). */
  #closeClients(): void {
    for (const socket of this.ctx.getWebSockets()) {
      if (attachmentOf(socket).role === 'client') quietly(() => socket.close());
    }
  }

  #agent(): WebSocket | undefined {
    return this.ctx.getWebSockets('agent').find((socket) => socket.readyState === WebSocket.OPEN);
  }

  #client(fd: string): { socket: WebSocket; attachment: Attachment & { role: 'client' } } | undefined {
    for (const socket of this.ctx.getWebSockets(`fd:${fd}`)) {
      const attachment = attachmentOf(socket);
      if (attachment.role === 'client' && socket.readyState === WebSocket.OPEN) return { socket, attachment };
    }
    return undefined;
  }

  #tell(frame: ControlStreamFrame): void {
    const agent = this.#agent();
    if (agent !== undefined) tell(agent, frame);
  }
}

function tell(agent: WebSocket, frame: ControlStreamFrame): void {
  quietly(() => agent.send(JSON.stringify(frame)));
}

function attachmentOf(socket: WebSocket): Attachment {
  // Every socket of this object got its attachment in `#accept`.
  return socket.deserializeAttachment() as Attachment;
}

/** What we throw becomes the answer; a failure of the platform's stays one. */
async function answer(act: () => Promise<Response>): Promise<Response> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof AppError) return refusal(error);
    throw error;
  }
}

function refusal(error: AppError): Response {
  const body: { error: WireError } = { error: toWireError(error) };
  return Response.json(body, { status: error.status });
}
