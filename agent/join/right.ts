/** Why a host may join: a token, or something that the control plane exchanges for one. */
import { AppError, badRequest } from '#protocol/errors.ts';
import type { JoinToken, JoinTokenRequest } from '#protocol/join.ts';
import { parseServerAddress, type ServerAddress } from '../link/address.ts';
import type { Trust } from '../link/dial.ts';
import { askToken } from './request.ts';
import { isBootstrapToken, parseAnyToken, parseJoinToken } from './token.ts';

/** A control plane whose certificate a person, a preseed or a token has vouched for. */
export interface KnownServer {
  addresses: string[];
  fingerprint: string;
}

export type JoinRight =
  | { kind: 'token'; token: string }
  | { kind: 'password'; serverName: string; password: string; server: KnownServer }
  | { kind: 'bootstrap'; serverName: string; token: string }
  | { kind: 'certificate'; serverName: string; identity: { cert: string; key: string }; server: KnownServer };

/** Whom the right makes a member, and of which control plane. Throws `bad_request` for a token that is none. */
export function describeRight(right: JoinRight): { serverName: string; server: KnownServer } {
  if (right.kind === 'token') {
    const token = parseJoinToken(right.token);
    return { serverName: token.server_name, server: serverOf(token) };
  }
  if (right.kind === 'bootstrap') {
    const token = parseAnyToken(right.token);
    if (!isBootstrapToken(token)) throw badRequest('This is no bootstrap token');
    return { serverName: right.serverName, server: serverOf(token) };
  }
  return { serverName: right.serverName, server: right.server };
}

const serverOf = ({ addresses, fingerprint }: JoinToken): KnownServer => ({ addresses, fingerprint });

/** The join token that the right is worth. Throws the control plane's refusal. */
export async function exchangeRight(right: JoinRight): Promise<JoinToken> {
  if (right.kind === 'token') return parseJoinToken(right.token);
  const { serverName, server } = describeRight(right);
  const request: JoinTokenRequest = {
    serverName,
    ...(right.kind === 'password' ? { password: right.password } : {}),
    ...(right.kind === 'bootstrap' ? { bootstrap: parseAnyToken(right.token).secret } : {}),
  };
  const identity = right.kind === 'certificate' ? { identity: right.identity } : {};
  const token = await eachAddress(server, (address, trust) => askToken(address, { ...trust, ...identity }, request));
  // What vouched for the server vouches for its answer, whatever addresses it names.
  return {
    ...token,
    fingerprint: server.fingerprint,
    addresses: [...new Set([...server.addresses, ...token.addresses])],
  };
}

/** Tries the addresses in turn; only silence moves on to the next one, a refusal is final. */
export async function eachAddress<T>(
  server: KnownServer,
  work: (address: ServerAddress, trust: Trust) => Promise<T>,
): Promise<T> {
  let silence: unknown = badRequest('The token names no address');
  for (const text of server.addresses) {
    try {
      return await work(parseServerAddress(text), { fingerprint: server.fingerprint, pinnedOnly: true });
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
      silence = error;
    }
  }
  throw silence;
}
