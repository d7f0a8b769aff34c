/**
 * The agents' websockets of one Links object. Identity lives in a socket's attachment and is set once, by the handshake; a
 * member's sockets are found by tag, also after the object has slept. At most one of them is `up`: the newest.
 */
import type { WireError } from '#protocol/errors.ts';
import { AgentFrame, type ControlFrame, FRAME_LIMIT_BYTES } from '#protocol/frames.ts';
import type { HostLoad } from '#protocol/inventory.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { parseWellFormed } from '#worker/lib/json.ts';
import type { Logger } from '#worker/lib/log.ts';
import type { SocketView } from './presence.ts';
import { quietly } from './quietly.ts';

export interface Attachment {
  member: string;
  phase: 'challenge' | 'up' | 'closed';
  nonce: string;
  connectedMs: number;
  sessionMs: number;
  load: HostLoad | null;
  /** What the agent speaks, told by its hello. */
  protocol: number;
  /** Too old for this cluster: it reports, but is given no work. */
  blocked: boolean;
  /** That it has proved to hold. */
  publicKey: string;
  /** Of the host that it runs on; older agents name none. */
  bootId?: string | undefined;
  /** Where that host is, for people; until the hello, where it is seen from. */
  place: string;
}

export interface LinkSocket {
  socket: WebSocket;
  attachment: Attachment;
  view: SocketView;
}

/** Close codes of ours (4000-4999 are free for applications). */
export const CLOSE_REPLACED = 4001;
export const CLOSE_SILENT = 4002;
export const CLOSE_REFUSED = 4003;
export const CLOSE_RETRY = 4004;

export type Refusal = Omit<Extract<ControlFrame, { type: 'refused' }>, 'type'>;

const memberTag = (member: string) => `member:${member}`;

export interface LinkSockets {
  /** Takes a new socket for `member`, seen from `address`, and challenges it; answers the agent's end. */
  accept(member: string, address: string): WebSocket;
  /** The one that speaks for the member. */
  up(member: string): WebSocket | undefined;
  /** The same, with its last sign of life. */
  find(member: string): LinkSocket | undefined;
  /** Whose sockets are up. */
  members(): string[];
  /** Every socket that has not been closed, with its last sign of life. */
  list(): LinkSocket[];
  /** A frame came from the member: as good as a heartbeat. */
  heard(member: string): void;
  send(socket: WebSocket, frame: ControlFrame): void;
  /** Says why, and closes. */
  refuse(socket: WebSocket, refusal: Refusal): void;
  /** Refuses every socket of the member, in whatever phase. */
  refuseAll(member: string, refusal: Refusal): void;
  /** Closes a socket that must not speak any more. */
  drop(socket: WebSocket, code: number, reason: string): void;
  /** Closes what spoke for the member before `socket`. */
  replaceOlder(socket: WebSocket, member: string): void;
}

export function createLinkSockets(ctx: DurableObjectState, log: Logger): LinkSockets {
  const lastFrameMs = new Map<string, number>();

  /** What crosses the link, by kind alone: what a launch costs can be counted in the log. */
  const send = (socket: WebSocket, frame: ControlFrame) => {
    noteFrame(log, attachmentOf(socket), 'out', frame.type);
    socket.send(JSON.stringify(frame));
  };
  const drop = (socket: WebSocket, code: number, reason: string) => {
    const attachment = attachmentOf(socket);
    if (attachment !== null) attach(socket, { ...attachment, phase: 'closed' });
    quietly(() => socket.close(code, reason));
  };
  const up = (member: string) =>
    ctx
      .getWebSockets(memberTag(member))
      .find((socket) => socket.readyState === WebSocket.OPEN && attachmentOf(socket)?.phase === 'up');
  const look = (socket: WebSocket): LinkSocket[] => {
    const attachment = attachmentOf(socket);
    if (attachment === null || attachment.phase === 'closed') return [];
    const heartbeat = ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    const { member, phase, connectedMs } = attachment;
    const frame = phase === 'up' ? (lastFrameMs.get(member) ?? 0) : 0;
    const lastSeenMs = Math.max(heartbeat, connectedMs, frame);
    return [{ socket, attachment, view: { member, phase, connectedMs, lastSeenMs } }];
  };
  const refuse = (socket: WebSocket, refusal: Refusal) => {
    quietly(() => send(socket, { type: 'refused', ...refusal }));
    drop(socket, CLOSE_REFUSED, 'refused');
  };

  return {
    accept: (member, address) => {
      const { 0: client, 1: server } = new WebSocketPair();
      const nonce = crypto.randomUUID() + crypto.randomUUID();
      ctx.acceptWebSocket(server, [memberTag(member)]);
      attach(server, {
        member,
        phase: 'challenge',
        nonce,
        connectedMs: Date.now(),
        sessionMs: 0,
        load: null,
        protocol: 0,
        blocked: false,
        publicKey: '',
        place: address,
      });
      send(server, { type: 'challenge', nonce, protocol: PROTOCOL_VERSION });
      return client;
    },
    up,
    find: (member) => {
      const socket = up(member);
      return socket === undefined ? undefined : look(socket)[0];
    },
    members: () =>
      ctx.getWebSockets().flatMap((socket) => {
        const attachment = attachmentOf(socket);
        return attachment?.phase === 'up' ? [attachment.member] : [];
      }),
    list: () => ctx.getWebSockets().flatMap(look),
    heard: (member) => void lastFrameMs.set(member, Date.now()),
    send,
    refuse,
    refuseAll: (member, refusal) => {
      for (const socket of ctx.getWebSockets(memberTag(member))) refuse(socket, refusal);
      lastFrameMs.delete(member);
    },
    drop,
    replaceOlder: (socket, member) => {
      for (const other of ctx.getWebSockets(memberTag(member))) {
        if (other === socket || attachmentOf(other)?.phase !== 'up') continue;
        drop(other, CLOSE_REPLACED, 'replaced by a newer connection');
      }
    },
  };
}

export function noteFrame(
  log: Logger,
  attachment: Attachment | null,
  direction: 'in' | 'out',
  type: AgentFrame['type'] | ControlFrame['type'],
): void {
  log.debug('link.frame', { member: attachment?.member, direction, type });
}

export function attach(socket: WebSocket, attachment: Attachment): void {
  socket.serializeAttachment(attachment);
}

export function attachmentOf(socket: WebSocket): Attachment | null {
  // Only `attach` writes attachments of this object's sockets.
  return socket.deserializeAttachment() as Attachment | null;
}

/** The frame, or what to tell a peer that sent something else. */
export function parseFrame(message: string | ArrayBuffer): { frame: AgentFrame } | { error: WireError } {
  if (typeof message !== 'string') return { error: { code: 'bad_request', message: 'Frames are text' } };
  if (message.length > FRAME_LIMIT_BYTES) return { error: { code: 'too_large', message: 'The frame is too large' } };
  try {
    const parsed = AgentFrame.safeParse(parseWellFormed(message));
    if (parsed.success) return { frame: parsed.data };
    const issue = parsed.error.issues[0];
    return { error: { code: 'bad_request', message: `Bad frame: ${issue?.path.join('.')}: ${issue?.message}` } };
  } catch {
    return { error: { code: 'bad_request', message: 'The frame is not JSON' } };
  }
}
