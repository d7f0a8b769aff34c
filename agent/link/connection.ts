/**
 * One connection of the member link, from dialling to its end. It is never repaired: any failure drops it whole and
 * `link.ts` starts the next one.
 */
import { type ClientOptions, WebSocket } from 'ws';
import { badRequest, toWireError } from '#protocol/errors.ts';
import {
  type AgentFrame,
  ControlFrame,
  FRAME_LIMIT_BYTES,
  HEARTBEAT_INTERVAL_MS,
  HEARTBEAT_REQUEST,
  HEARTBEAT_RESPONSE,
} from '#protocol/frames.ts';
import type { Log } from '../log.ts';
import type { ServerAddress } from './address.ts';
import { ServerAgent, type Trust } from './dial.ts';

/** A heartbeat unanswered for this long means that the link is half-open. */
const PONG_LIMIT_MS = 10_000;
/** The control plane's runtime may leave TCP open for seconds after its close frame. */
const CLOSE_TIMEOUT_MS = 2_000;
/** From the upgrade to the welcome. */
const HANDSHAKE_LIMIT_MS = 15_000;

export type Challenge = Extract<ControlFrame, { type: 'challenge' }>;
/** Frames that come after the welcome. */
export type WorkFrame = Exclude<ControlFrame, { type: 'challenge' | 'welcome' | 'refused' }>;

export interface ConnectionHandlers {
  /** Answers the challenge; throwing drops the connection. */
  hello(challenge: Challenge): AgentFrame;
  welcome(session: string): void;
  frame(frame: WorkFrame): void;
}

/** What the control plane says when it does not want us: a new name and a removal are for the agent to act on. */
export type Refusal = Omit<Extract<ControlFrame, { type: 'refused' }>, 'type'>;

/** Why a connection ended; `error` and `retry` are set when the control plane refused us. */
export interface ConnectionEnd {
  reason: string;
  welcomed: boolean;
  refused: Refusal | null;
}

export interface Connection {
  /** False when the socket is not open: the frame is lost. */
  send(frame: AgentFrame): boolean;
  close(): void;
  /** Resolves once, never rejects. */
  ended: Promise<ConnectionEnd>;
}

/** A websocket whose socket was dialled and judged by `dialServer`. Compression is off: frames are small, streams are not text. */
export function openSocket(
  address: ServerAddress,
  trust: Trust,
  path: string,
  headers: Record<string, string> = {},
): WebSocket {
  const options: ClientOptions & { closeTimeout: number } = {
    perMessageDeflate: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handshakeTimeout: HANDSHAKE_LIMIT_MS,
    headers: { ...headers, host: address.authority },
    agent: new ServerAgent(address, trust),
  };
  return new WebSocket(`ws://${address.authority}${path}`, options);
}

/** Dials and runs one connection. */
export function connect(
  deps: { log: Log },
  address: ServerAddress,
  trust: Trust,
  member: string,
  handlers: ConnectionHandlers,
): Connection {
  const socket = openSocket(address, trust, `/agent/link?member=${encodeURIComponent(member)}`);
  let welcomed = false;
  let refused: ConnectionEnd['refused'] = null;
  let reason = 'closed';
  let lastPongMs = Date.now();

  const drop = (why: string) => {
    reason = why;
    socket.terminate();
  };
  const send = (frame: AgentFrame) => {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(frame));
    return true;
  };
  const handshake = setTimeout(() => {
    if (!welcomed) drop('no welcome in time');
  }, HANDSHAKE_LIMIT_MS);
  const heartbeat = setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (Date.now() - lastPongMs > PONG_LIMIT_MS) drop('no pong: half-open link');
    else socket.send(HEARTBEAT_REQUEST);
  }, HEARTBEAT_INTERVAL_MS);

  const take = (frame: ControlFrame) => {
    if (frame.type === 'refused') {
      refused = frame;
      drop(`refused: ${frame.error.message}`);
    } else if (frame.type === 'challenge') {
      if (welcomed) throw badRequest('The handshake is over');
      send(handlers.hello(frame));
    } else if (frame.type === 'welcome') {
      welcomed = true;
      handlers.welcome(frame.session);
    } else if (welcomed) handlers.frame(frame);
    else throw badRequest(`Unexpected ${frame.type} before the welcome`);
  };

  socket.on('open', () => {
    lastPongMs = Date.now();
  });
  socket.on('message', (data, isBinary) => {
    const text = data.toString();
    if (!isBinary && text === HEARTBEAT_RESPONSE) {
      lastPongMs = Date.now();
      return;
    }
    try {
      take(parseFrame(text, isBinary));
    } catch (error) {
      deps.log.warn('link.frame.bad', { err: error });
      send({ type: 'error', error: toWireError(error) });
    }
  });
  socket.on('error', (error) => {
    reason = error.message;
  });
  const ended = new Promise<ConnectionEnd>((resolve) => {
    socket.on('close', () => {
      clearInterval(heartbeat);
      clearTimeout(handshake);
      resolve({ reason, welcomed, refused });
    });
  });
  return {
    send,
    ended,
    close: () => {
      reason = 'closed by us';
      if (socket.readyState === WebSocket.OPEN) socket.close(1000);
      else socket.terminate();
    },
  };
}

function parseFrame(text: string, isBinary: boolean): ControlFrame {
  if (isBinary) throw badRequest('Frames are text');
  if (text.length > FRAME_LIMIT_BYTES) throw badRequest('The frame is too large');
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (cause) {
    throw badRequest('The frame is not JSON', cause);
  }
  const parsed = ControlFrame.safeParse(input);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw badRequest(`Bad frame: ${issue?.path.join('.')}: ${issue?.message}`, parsed.error);
}
