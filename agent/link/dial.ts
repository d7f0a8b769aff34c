/**
 * Connections to the control plane. A socket is handed out only after the server's certificate has been accepted, so that
 * nothing (no bearer, no secret) is ever written to a stranger.
 */
import { Agent, type AgentOptions } from 'node:http';
import { isIP, connect as netConnect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import { failed, unavailable } from '#protocol/errors.ts';
import type { ServerAddress } from './address.ts';

/** Well above a slow TLS handshake; a black-holed address must not hold up the next one for minutes. */
const DIAL_TIMEOUT_MS = 10_000;

/** SHA-256 of the server's leaf certificate, lower-case hex. */
export function peerFingerprint(socket: TLSSocket): string {
  return (socket.getPeerX509Certificate()?.fingerprint256 ?? '').replaceAll(':', '').toLowerCase();
}

export interface Trust {
  /** The pinned leaf. Null: only the system's trust store. */
  fingerprint: string | null;
  /** True: nothing but the pinned leaf will do, not even a publicly trusted chain. */
  pinnedOnly?: boolean;
  /** What this side shows: PEM. */
  identity?: { cert: string; key: string };
}

/**
 * Connects; over TLS accepts the pinned leaf, or a chain that the system trusts for that name (not for bare addresses).
 * Throws `unavailable` when nobody answers, `failed` when the certificate is not the expected one.
 */
export function dialServer(address: ServerAddress, trust: Trust): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const { host, port } = address;
    const socket = address.secure
      ? tlsConnect({
          host,
          port,
          minVersion: 'TLSv1.3',
          // Judged below, before the first byte is written.
          rejectUnauthorized: false,
          ALPNProtocols: ['http/1.1'],
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...trust.identity,
        })
      : netConnect({ host, port });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => fail(unavailable(`No answer from ${address.authority}`)), DIAL_TIMEOUT_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.once('error', (cause) =>
      fail(unavailable(`Cannot connect to ${address.authority}: ${cause.message}`, cause)),
    );
    socket.once(address.secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      // Read once: Node answers it only the first time.
      const seen = 'getPeerX509Certificate' in socket ? peerFingerprint(socket) : '';
      if ('getPeerX509Certificate' in socket && !isTrusted(socket, seen, address, trust)) {
        fail(failed(`The certificate of ${address.authority} is not the expected one (its fingerprint is ${seen})`));
        return;
      }
      socket.removeAllListeners('error');
      // Until the owner listens: an unheard `error` event would end the process.
      socket.on('error', () => {});
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** The leaf that a server shows, unjudged: for a person to confirm. Throws `unavailable` when nobody answers. */
export function readServerCertificate(address: ServerAddress): Promise<{ fingerprint: string; pem: string }> {
  return new Promise((resolve, reject) => {
    const { host, port } = address;
    const socket = tlsConnect({
      host,
      port,
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    socket.setTimeout(DIAL_TIMEOUT_MS, () => socket.destroy(new Error('no answer')));
    socket.once('error', (cause) =>
      reject(unavailable(`Cannot connect to ${address.authority}: ${cause.message}`, cause)),
    );
    socket.once('secureConnect', () => {
      const leaf = socket.getPeerX509Certificate();
      socket.destroy();
      if (leaf === undefined) return reject(unavailable(`${address.authority} shows no certificate`));
      resolve({ fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(), pem: leaf.toString() });
    });
  });
}

function isTrusted(socket: TLSSocket, seen: string, address: ServerAddress, trust: Trust): boolean {
  if (trust.fingerprint !== null && seen === trust.fingerprint) return true;
  return trust.pinnedOnly !== true && socket.authorized && isIP(address.host) === 0;
}

/**
 * Node's HTTP agent over `dialServer`: requests are plain `http:` to Node, the socket below them is judged TLS. For
 * requests, upgrades and the `ws` package alike.
 */
export class ServerAgent extends Agent {
  readonly #address: ServerAddress;
  readonly #trust: Trust;

  constructor(address: ServerAddress, trust: Trust, options: AgentOptions = {}) {
    super(options);
    this.#address = address;
    this.#trust = trust;
  }

  /** Node's own hook; the socket comes by the callback. */
  override createConnection(_options: unknown, done?: (error: Error | null, socket: Duplex) => void): null {
    dialServer(this.#address, this.#trust).then(
      (socket) => done?.(null, socket),
      // The type wants a socket here too; Node looks at the error first.
      (error: Error) => done?.(error, new Socket()),
    );
    return null;
  }
}
