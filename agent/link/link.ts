/**
 * The member link: keeps one connection to the control plane, address after address, with full-jitter back-off.
 *
 * Invariants. The epoch was raised before the first hello. The session token lives in memory only. Frames sent while no link
 * is up are dropped: whoever needs delivery (results, inventory) sends again at `onWelcome`.
 */

import type { KeyObject } from 'node:crypto';
import { randomUUID } from 'node:crypto';
import { badRequest, unavailable } from '#protocol/errors.ts';
import { type AgentFrame, helloPayload } from '#protocol/frames.ts';
import type { HostLoad, HostResources } from '#protocol/inventory.ts';
import { checkMemberName } from '#protocol/names.ts';
import { isKnownTo } from '#protocol/since.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import type { Log } from '../log.ts';
import { AGENT_VERSION } from '../version.ts';
import { parseServerAddress, type ServerAddress } from './address.ts';
import { backoffMs } from './backoff.ts';
import { type Challenge, type Connection, type ConnectionEnd, connect, type WorkFrame } from './connection.ts';

/** After a refusal that trying again cannot help: often enough to notice that an operator has helped. */
const REFUSED_RETRY_MS = 60_000;

export interface LinkOptions {
  server: readonly string[];
  fingerprint: string | null;
  member: string;
  epoch: number;
  /** Frames that are newer than this are refused. By default the newest. */
  protocol?: number;
  /** Which boot of which host this is. */
  bootId?: string;
  identity: KeyObject;
  signature(identity: KeyObject, payload: Uint8Array): string;
  /** Of the identity. */
  publicKey?: string;
  /** What the host is at this moment; read before each connection. */
  describeHost(): Promise<{ resources: HostResources; load: HostLoad }>;
  /** Keeps the member's new name for the next start; throws when it cannot, then the old one is used until it can. */
  keepName(member: string): void;
  log: Log;
  backoff?: (attempt: number) => number;
}

export interface LinkHandlers {
  onWelcome(): void;
  /** A link that was up has gone. */
  onLost?(): void;
  onFrame(frame: WorkFrame): void;
  /** The member was removed: the link has ended for good. */
  onRemoved(removal: LinkRemoval): void;
}

export interface LinkRemoval {
  /** For people. */
  message: string;
  /** Nothing was here: what was made for the cluster may go. */
  cleanUp: boolean;
}

/** A session and where it is good. */
export interface Session {
  address: ServerAddress;
  token: string;
}

export interface Link {
  /** False: no link, the frame is dropped. */
  send(frame: AgentFrame): boolean;
  /** Null while the link is down. */
  session(): Session | null;
  /** The session, waiting up to `limitMs` for the link; rejects with `unavailable`. */
  whenUp(limitMs: number, signal?: AbortSignal): Promise<Session>;
  start(handlers: LinkHandlers): void;
  /** Ends the connection and the trying; resolves when both are over. */
  stop(): Promise<void>;
}

export function createLink(options: LinkOptions): Link {
  const { log, protocol = PROTOCOL_VERSION } = options;
  const processId = randomUUID();
  const addresses = options.server.map(parseServerAddress);
  const trust = { fingerprint: options.fingerprint };
  const backoff = options.backoff ?? backoffMs;
  const stopping = new AbortController();
  let connection: Connection | null = null;
  let session: Session | null = null;
  let running: Promise<void> = Promise.resolve();
  const waiting = new Set<(session: Session) => void>();
  let member = options.member;

  const hello = (challenge: Challenge, host: { resources: HostResources; load: HostLoad }): AgentFrame => {
    const { epoch, bootId, publicKey } = options;
    const payload = helloPayload({ nonce: challenge.nonce, member, epoch, processId });
    return {
      type: 'hello',
      protocol,
      version: AGENT_VERSION,
      member,
      epoch,
      processId,
      ...(bootId === undefined ? {} : { bootId }),
      ...(publicKey === undefined ? {} : { publicKey }),
      signature: options.signature(options.identity, payload),
      ...host,
    };
  };

  const runOnce = async (address: ServerAddress, handlers: LinkHandlers): Promise<ConnectionEnd> => {
    const host = await options.describeHost();
    const current = connect({ log }, address, trust, member, {
      hello: (challenge) => hello(challenge, host),
      welcome: (token) => {
        const current = { address, token };
        session = current;
        for (const wake of waiting) wake(current);
        log.info('link.up', { server: address.authority });
        handlers.onWelcome();
      },
      frame: (frame) => {
        if (frame.type === 'session') session = { address, token: frame.session };
        else if (frame.type === 'error')
          log.warn('link.peer.error', { code: frame.error.code, message: frame.error.message });
        else if (isKnownTo(protocol, frame)) handlers.onFrame(frame);
        else throw badRequest(`Protocol ${protocol} has no such frame`);
      },
    });
    connection = current;
    if (stopping.signal.aborted) current.close();
    const end = await current.ended;
    connection = null;
    session = null;
    if (end.welcomed) handlers.onLost?.();
    return end;
  };

  const takeName = (name: string): boolean => {
    // A name that was refused already would be asked for without end.
    if (name === member) return false;
    if (checkMemberName(name) !== null) {
      log.error('link.rename.bad', { member, newName: name });
      return false;
    }
    try {
      options.keepName(name);
    } catch (err) {
      log.error('link.rename.failed', { member, newName: name, err });
      return false;
    }
    log.info('link.renamed', { member, newName: name });
    member = name;
    return true;
  };

  const run = async (handlers: LinkHandlers) => {
    for (let attempt = 0, turn = 0; !stopping.signal.aborted; turn++) {
      const address = addresses[turn % addresses.length];
      if (address === undefined) return;
      const end = await runOnce(address, handlers).catch(
        (error: unknown): ConnectionEnd => ({ reason: String(error), welcomed: false, refused: null }),
      );
      if (stopping.signal.aborted) return;
      if (end.welcomed) attempt = 0;
      if (end.refused?.removed !== undefined) {
        const { error, removed } = end.refused;
        log.error('link.removed', { member, reason: error.message });
        return handlers.onRemoved({ message: error.message, cleanUp: removed.cleanUp });
      }
      if (end.refused?.renamed !== undefined && takeName(end.refused.renamed)) {
        // To the same address, at once.
        turn--;
        continue;
      }
      report(log, address, end);
      // A lost link goes back to where it was before it tries the others.
      if (end.welcomed) turn--;
      await sleep(
        delayAfter(end, () => backoff(attempt++)),
        stopping.signal,
      );
    }
  };

  return {
    send: (frame) => connection?.send(frame) ?? false,
    session: () => session,
    whenUp: (limitMs, signal) => {
      if (session !== null) return Promise.resolve(session);
      return new Promise((resolve, reject) => {
        const settle = (act: () => void) => {
          clearTimeout(timer);
          waiting.delete(wake);
          signal?.removeEventListener('abort', refuse);
          act();
        };
        const wake = (current: Session) => settle(() => resolve(current));
        const refuse = () => settle(() => reject(unavailable('No connection to the control plane')));
        const timer = setTimeout(refuse, limitMs);
        waiting.add(wake);
        signal?.addEventListener('abort', refuse, { once: true });
      });
    },
    start: (handlers) => {
      running = run(handlers);
    },
    stop: async () => {
      stopping.abort();
      connection?.close();
      await running;
    },
  };
}

/** A refusal may say when to come again; all other ends are backed off from. */
function delayAfter({ refused }: ConnectionEnd, backoff: () => number): number {
  if (refused?.retry === false) return REFUSED_RETRY_MS;
  return refused?.retryMs === undefined ? backoff() : Math.min(refused.retryMs, REFUSED_RETRY_MS);
}

function report(log: Log, address: ServerAddress, end: ConnectionEnd): void {
  const fields = { server: address.authority, reason: end.reason };
  if (end.refused?.retry === false) {
    const advice = 'Remove the member and join this host again, or stop the other host that uses this identity.';
    log.error('link.refused', { ...fields, advice });
  } else if (end.welcomed) log.warn('link.lost', fields);
  else if (end.refused !== null) log.warn('link.refused', fields);
  else log.info('link.unreachable', fields);
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}
