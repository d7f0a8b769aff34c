/**
 * Commands on their way over the links that are up, and the results that come back. What was sent is kept until its result, to
 * spare reading it again; everything is in libSQL all the same.
 */
import { unavailable } from '#protocol/errors.ts';
import type { AgentFrame } from '#protocol/frames.ts';
import type { Logger } from '#worker/lib/log.ts';
import { applyResult, isEnough, listOverdue, listWaitingCommands } from '#worker/state/commands.ts';
import type { Db } from '#worker/state/db.ts';
import type { Followup } from '#worker/state/followup.ts';
import { findNameOfKey } from '#worker/state/former-members.ts';
import type { Order } from './contract.ts';
import { fateOf, tooOldFor } from './link-age.ts';
import { type Attachment, attachmentOf, type LinkSockets } from './link-sockets.ts';

type Outcome = Extract<AgentFrame, { type: 'result' }>['outcome'];

/** Who writes a command says so at once. */
const OVERDUE_MS = 10_000;

export interface OrdersDeps {
  db: Db;
  log: Logger;
  sockets: LinkSockets;
  follow(followup: Followup): Promise<void>;
  /** A command took so long from its request to its result. */
  noteTime(command: string, ok: boolean, seconds: number): void;
}

export interface Orders {
  /** From now on what is to be sent over this link waits for `greet` or `release`: nothing may overtake what waited longer. */
  hold(socket: WebSocket): void;
  /** Sends all that waits for the member in libSQL, oldest first, and lets the rest follow. */
  greet(socket: WebSocket, member: string): Promise<void>;
  /** Nothing is held any more. */
  release(socket: WebSocket): void;
  /** Sends what the agent can do; what it is too old for fails, or waits until it is newer. */
  send(socket: WebSocket, member: string, orders: readonly Order[]): Promise<void>;
  /** Applies a result. Throws when that cannot be done now: then it must not be acknowledged. */
  take(attachment: Attachment, id: string, outcome: Outcome): Promise<void>;
  /**
   * Sends what waits in libSQL and was never sent over a link that is up: who wrote it ended before it came to say so, or was
   * told that it had failed.
   */
  sweep(): Promise<void>;
  /** The member's link is gone: what it had is read again at its next hello. */
  drop(member: string): void;
}

export function createOrders({ db, log, sockets, follow, noteTime }: OrdersDeps): Orders {
  const kept = new Map<string, { member: string; order: Order }>();
  const holds = new Map<WebSocket, { done: Promise<void>; end(): void }>();
  const release = (socket: WebSocket) => {
    holds.get(socket)?.end();
    holds.delete(socket);
  };
  const transmit: Orders['send'] = async (socket, member, orders) => {
    const attachment = attachmentOf(socket);
    for (const order of orders) {
      const { operationId, createdAt, ...command } = order;
      const fate = attachment === null ? 'wait' : fateOf(attachment, order);
      if (fate === 'refuse' && attachment !== null) {
        const outcome = { ok: false as const, error: tooOldFor(attachment, order.name) };
        const now = new Date().toISOString();
        await follow(await applyResult(db, { member, id: order.id, outcome, now }));
      }
      if (fate !== 'send') continue;
      kept.set(command.id, { member, order });
      sockets.send(socket, { type: 'command', ...command, ...(operationId === null ? {} : { operationId }) });
      log.info('command.sent', { member, command: command.name, commandId: command.id, operationId });
    }
  };
  const send: Orders['send'] = async (socket, member, orders) => {
    await holds.get(socket)?.done;
    // Gone while it was held: everything is read again at the next hello.
    if (attachmentOf(socket)?.phase === 'up') await transmit(socket, member, orders);
  };
  return {
    hold: (socket) => {
      if (holds.has(socket)) return;
      let end = () => {};
      const done = new Promise<void>((resolve) => {
        end = resolve;
      });
      holds.set(socket, { done, end });
    },
    greet: async (socket, member) => {
      const orders = await listWaitingCommands(db, member);
      const sent = transmit(socket, member, orders);
      // Before it ends: what follows from a refusal may be for this member.
      release(socket);
      await sent;
    },
    release,
    send,
    sweep: async () => {
      const before = new Date(Date.now() - OVERDUE_MS).toISOString();
      const overdue = await listOverdue(db, { members: sockets.members(), before });
      const unsent = overdue.filter(({ id }) => !kept.has(id));
      for (const member of new Set(unsent.map((row) => row.member))) {
        const socket = sockets.up(member);
        const waiting = await listWaitingCommands(db, member);
        const due = waiting.filter(({ id }) => unsent.some((row) => row.id === id));
        if (socket !== undefined) await send(socket, member, due);
      }
    },
    take: async ({ member, publicKey }, id, outcome) => {
      const sent = kept.get(id);
      const known = sent?.member === member && isEnough(sent.order) ? { order: sent.order } : {};
      const now = new Date().toISOString();
      const applied = await applyResult(db, { member, id, outcome, now, ...known });
      // Renamed a moment ago: the result comes again under the new name.
      if (applied.events.length === 0 && (await findNameOfKey(db, publicKey)) !== member) {
        throw unavailable(`The member "${member}" has another name`);
      }
      kept.delete(id);
      const { operationId } = sent?.order ?? {};
      if (!applied.known) log.warn('link.result.unknown', { member, commandId: id });
      else log.info('command.answered', { member, commandId: id, operationId, ok: outcome.ok });
      if (sent !== undefined && applied.known) {
        noteTime(sent.order.name, outcome.ok, (Date.parse(now) - Date.parse(sent.order.createdAt)) / 1000);
      }
      await follow(applied);
    },
    drop: (member) => {
      for (const [id, { member: of }] of kept) if (of === member) kept.delete(id);
    },
  };
}
