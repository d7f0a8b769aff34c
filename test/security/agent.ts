/** An agent's end of the link, spoken by hand: a valid key, and whatever else one sends with it. */
import type { KeyObject } from 'node:crypto';
import { randomUUID } from 'node:crypto';
import { eq } from 'drizzle-orm';
import { WebSocket } from 'ws';
import { createIdentity, publicKeyOf, signPayload } from '#agent/link/identity.ts';
import { ControlFrame, HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE, helloPayload } from '#protocol/frames.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import { waitFor } from '#selfhost/wait.ts';
import * as schema from '#worker/state/schema.ts';
import { RESOURCES } from '../worker-unit/state/helpers.ts';
import { tried } from './client.ts';
import type { Plane } from './plane.ts';

export const LOAD = { memoryTotalBytes: 2 ** 33, memoryAvailableBytes: 2 ** 32, cpuCount: 2, cpuLoad: 0 };

export interface AgentSocket {
  /** Every frame that came, in order. */
  frames: ControlFrame[];
  /** Why it was closed; null while it is open. */
  closed(): number | null;
  send(frame: unknown): void;
  /** Resolves to the first frame that came, or comes, and fits. */
  next<T extends ControlFrame['type']>(
    type: T,
    fits?: (frame: Extract<ControlFrame, { type: T }>) => boolean,
  ): Promise<Extract<ControlFrame, { type: T }>>;
  /** Resolves when the other side has taken everything that was sent before. */
  settled(): Promise<void>;
  close(): void;
}

/** A key for a member that is in the database already. */
export async function giveKey({ db }: Plane, member: string): Promise<KeyObject> {
  const { key } = createIdentity();
  await db
    .update(schema.members)
    .set({ publicKey: publicKeyOf(key) })
    .where(eq(schema.members.name, member));
  return key;
}

/** The socket alone: the challenge has not been answered. */
export async function openSocket({ port }: Plane, member: string): Promise<AgentSocket> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/agent/link?member=${encodeURIComponent(member)}`, {
    rejectUnauthorized: false,
  });
  const frames: ControlFrame[] = [];
  let closed: number | null = null;
  let pongs = 0;
  socket.on('message', (data) => {
    const text = String(data);
    if (text === HEARTBEAT_RESPONSE) pongs += 1;
    else frames.push(ControlFrame.parse(JSON.parse(text)));
  });
  socket.on('close', (code) => {
    closed = code;
  });
  socket.on('error', () => {
    closed ??= 1006;
  });
  const send = (frame: unknown) => {
    tried.frames += 1;
    const raw = typeof frame === 'string' || Buffer.isBuffer(frame);
    if (socket.readyState === WebSocket.OPEN) socket.send(raw ? frame : JSON.stringify(frame));
  };
  await waitFor('the challenge', () => closed !== null || frames.some(({ type }) => type === 'challenge'), SLOW);
  return {
    frames,
    closed: () => closed,
    send,
    next: async (type, fits = () => true) => {
      const find = () => {
        for (const frame of frames) if (isOf(frame, type) && fits(frame)) return frame;
        return closed === null ? undefined : failed(`The link was closed by ${closed} before a ${type}`);
      };
      return waitFor(`a ${type}`, find, SLOW);
    },
    settled: async () => {
      // Answered by the runtime itself, in the order of the wire; the work of a frame is known by the answer to a bad one.
      const errors = () => frames.filter(({ type }) => type === 'error').length;
      const before = errors();
      send('{"type":"nothing"}');
      await waitFor('the link to answer', () => closed !== null || errors() > before, SLOW);
      const known = pongs;
      if (socket.readyState === WebSocket.OPEN) socket.send(HEARTBEAT_REQUEST);
      await waitFor('the heartbeat', () => closed !== null || pongs > known, SLOW);
    },
    close: () => socket.terminate(),
  };
}

/** Proves to be the member, or tries to. */
export async function connectAgent(
  plane: Plane,
  { member, key, at = member, epoch = 1 }: { member: string; key: KeyObject; at?: string; epoch?: number },
): Promise<AgentSocket & { session: string }> {
  const socket = await openSocket(plane, at);
  const { nonce } = await socket.next('challenge');
  const processId = randomUUID();
  const signature = signPayload(key, helloPayload({ nonce, member, epoch, processId }));
  const about = { protocol: PROTOCOL_VERSION, version: '0.1.0', resources: RESOURCES, load: LOAD };
  socket.send({ type: 'hello', member, epoch, processId, signature, ...about });
  await waitFor('an answer to the hello', () => socket.frames.length > 1 || socket.closed() !== null, SLOW);
  const welcome = socket.frames.find((frame) => frame.type === 'welcome');
  return { ...socket, session: welcome?.session ?? '' };
}

const SLOW = { timeoutMs: 60_000 };

const isOf = <T extends ControlFrame['type']>(
  frame: ControlFrame,
  type: T,
): frame is Extract<ControlFrame, { type: T }> => frame.type === type;

function failed(text: string): never {
  throw new Error(text);
}
