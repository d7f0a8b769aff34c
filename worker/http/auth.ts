/**
 * Who calls. A TLS client is its certificate's SHA-256, looked up in the trust store; proof that it holds the key is the
 * handshake itself, done by the edge or the self-hosted front, which are the only ones that can set `request.cf`. A user of
 * a host's local socket comes through that host's agent, with the agent's session token; a tool without a certificate comes
 * with a bearer token that was issued to it, and a person's client with one of an OIDC issuer.
 */
import { z } from 'zod';
import type { Env } from '#worker/env.ts';
import { verifyToken } from '#worker/lib/access-token.ts';
import { bearerToken, keyId, verifySession } from '#worker/lib/session.ts';
import { certificateDates, pemToDer } from '#worker/lib/x509.ts';
import { recognizeAccessToken } from '#worker/services/access-tokens.ts';
import type { Context, Principal } from '#worker/services/context.ts';
import { isLocalAccessOpen } from '#worker/services/server-config.ts';
import { countFailure } from '#worker/services/trust-attempts.ts';
import { findCertificate } from '#worker/state/certificates.ts';
import { findNameOfKey, readFormerNames } from '#worker/state/former-members.ts';
import { findMember } from '#worker/state/members.ts';
import { bearerKind } from './bearer.ts';
import { oidcUser } from './oidc-bearer.ts';

/** The TLS peer, trusted or not: what `POST /1.0/certificates` may add. */
export interface Peer {
  fingerprint: string;
  /** DER, when the front passes it. */
  certificate: Uint8Array | null;
}

export interface Caller {
  principal: Principal;
  trusted: boolean;
  /** A certificate or token for metrics: good for `GET /1.0/metrics` only. */
  metrics: boolean;
  /** With `metrics`: of these projects' instances; null: of all. */
  watches?: string[] | null;
  /** Trusted to look, but not to change anything. */
  readOnly: boolean;
  peer: Peer | null;
}

const Cf = z.object({
  clientAddress: z.string().optional(),
  tlsClientAuth: z
    .object({
      certPresented: z.string(),
      certFingerprintSHA256: z.string(),
      certRFC9440: z.string().optional(),
    })
    .optional(),
});

const readCf = (request: Request) => Cf.safeParse(Reflect.get(request, 'cf')).data;
const addressOf = (request: Request, cf: ReturnType<typeof readCf>) =>
  cf?.clientAddress ?? request.headers.get('cf-connecting-ip') ?? '';

/** Where the request comes from; empty when nobody knows. */
export const clientAddress = (request: Request): string => addressOf(request, readCf(request));

/**
 * Bad credentials make an untrusted caller. Throws `too_many` for a bearer token that is not good from where many such came,
 * `unavailable` when the database is away.
 */
export async function authenticate(request: Request, env: Env, ctx: Context): Promise<Caller> {
  const cf = readCf(request);
  const address = addressOf(request, cf);
  const token = bearerToken(request);
  if (token !== null) {
    const caller = await bearer(request, env, ctx, { token, address });
    if (caller !== null) return caller;
    // Those of an OIDC issuer expire every hour, and nobody guesses a signature.
    if (bearerKind(token) !== 'oidc') await countFailure(ctx, address, 'bearer');
    return untrusted(address, null);
  }
  const peer = cf === undefined ? null : readPeer(cf);
  if (peer === null) return untrusted(address, null);
  const row = await findCertificate(ctx.db, peer.fingerprint);
  if (row === undefined || !isCurrent(row.certificate, ctx.now())) return untrusted(address, peer);
  const projects = row.restricted ? row.projects : null;
  if (row.type === 'metrics') return { ...untrusted(address, peer), metrics: true, watches: projects };
  const known: Rights = { protocol: 'tls', username: peer.fingerprint, projects, readOnly: false };
  rememberRights(env, peer.fingerprint, known);
  return trustedClient(known, address, peer);
}

/** What the caller was found to be the last time: a guess to prepare an answer by, never a reason to give it. */
export function expectCaller(request: Request, env: Env): Caller | null {
  const cf = readCf(request);
  const token = bearerToken(request);
  const peer = cf === undefined || token !== null ? null : readPeer(cf);
  const known = rights.get(env)?.get(token ?? peer?.fingerprint ?? '');
  return known === undefined ? null : trustedClient(known, addressOf(request, cf), peer);
}

/** What a client's credential was found to be good for. */
interface Rights extends Pick<Principal, 'protocol' | 'username' | 'projects'> {
  readOnly: boolean;
}

/** Of trusted clients seen by this isolate, by fingerprint or token; losing it costs a little time. */
const rights = new WeakMap<Env, Map<string, Rights>>();
const REMEMBERED_CLIENTS = 1_000;

function rememberRights(env: Env, credential: string, found: Rights): void {
  const known = rights.get(env) ?? new Map<string, Rights>();
  if (known.size >= REMEMBERED_CLIENTS) known.clear();
  known.set(credential, found);
  rights.set(env, known);
}

function trustedClient({ readOnly, ...found }: Rights, address: string, peer: Peer | null): Caller {
  const principal: Principal = { ...found, address, member: null };
  return { principal, trusted: true, metrics: false, readOnly, peer };
}

/** No project is theirs, so that a check forgotten elsewhere still refuses. */
function untrusted(address: string, peer: Peer | null): Caller {
  const principal: Principal = {
    protocol: 'tls',
    username: peer?.fingerprint ?? '',
    address,
    projects: [],
    member: null,
  };
  return { principal, trusted: false, metrics: false, readOnly: false, peer };
}

/** A caller who was not asked: all that is known is the address. */
export const stranger = (request: Request): Caller => untrusted(clientAddress(request), null);

interface Bearer {
  token: string;
  address: string;
}

/** Null for a token that is not good. */
async function bearer(request: Request, env: Env, ctx: Context, sent: Bearer): Promise<Caller | null> {
  switch (bearerKind(sent.token)) {
    case 'session':
      return localUser(request, env, ctx, sent.token);
    case 'token':
      return tokenHolder(env, ctx, sent);
    case 'oidc':
      return loggedIn(env, ctx, sent);
    case null:
      return null;
  }
}

/** The signature comes first, so that what anybody could make up does not reach the database. */
async function tokenHolder(env: Env, ctx: Context, { token, address }: Bearer): Promise<Caller | null> {
  const id = await verifyToken(env, token, ctx.now());
  const row = id === null ? null : await recognizeAccessToken(ctx, id, token);
  if (row === null) return null;
  const found: Rights = {
    protocol: 'token',
    username: row.id,
    projects: row.projects,
    readOnly: row.scope === 'read-only',
  };
  if (row.scope === 'metrics') return { ...untrusted(address, null), metrics: true, watches: row.projects };
  rememberRights(env, token, found);
  return trustedClient(found, address, null);
}

async function loggedIn(env: Env, ctx: Context, { token, address }: Bearer): Promise<Caller | null> {
  const user = await oidcUser(env, ctx, token);
  if (user === null) return null;
  const found: Rights = { protocol: 'oidc', ...user };
  rememberRights(env, token, found);
  return trustedClient(found, address, null);
}

async function localUser(request: Request, env: Env, ctx: Context, token: string): Promise<Caller | null> {
  const session = await verifySession(env, token);
  if (session === null) return null;
  const [member, open] = await Promise.all([memberOfSession(ctx, session), isLocalAccessOpen(ctx)]);
  // A session of ours, good for nothing here: no guess, so it counts against nobody at that address.
  if (member === null || !open) return untrusted(clientAddress(request), null);
  const claimed = request.headers.get('x-longshore-local-user') ?? 'root';
  const username = /^[\w.@$-]{1,64}$/.test(claimed) ? claimed : 'unknown';
  const principal: Principal = { protocol: 'unix', username, address: '@', projects: null, member };
  return { principal, trusted: true, metrics: false, readOnly: false, peer: null };
}

/** The member whose key the session is bound to, under its present name; the session's may be another host's by now. */
export async function memberOfSession(
  ctx: Context,
  session: { member: string; keyId: string },
): Promise<string | null> {
  const row = await findMember(ctx.db, session.member);
  if (row !== undefined && (await keyId(row.publicKey)) === session.keyId) return row.name;
  // Renamed a moment ago: its agent is about to get a session for the new name.
  for (const former of await readFormerNames(ctx.db, session.member)) {
    if (former.kind !== 'renamed' || (await keyId(former.publicKey)) !== session.keyId) continue;
    return (await findNameOfKey(ctx.db, former.publicKey)) ?? null;
  }
  return null;
}

function readPeer(cf: z.infer<typeof Cf>): Peer | null {
  const auth = cf.tlsClientAuth;
  if (auth?.certPresented !== '1') return null;
  const fingerprint = auth.certFingerprintSHA256.replaceAll(':', '').toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(fingerprint)) return null;
  return {
    fingerprint,
    get certificate() {
      return decodeRfc9440(auth.certRFC9440);
    },
  };
}

/** RFC 9440: base64 DER between colons. */
function decodeRfc9440(value: string | undefined): Uint8Array | null {
  const match = /^:?([A-Za-z0-9+/]+=*):?$/.exec(value?.trim() ?? '');
  if (match?.[1] === undefined) return null;
  try {
    return Uint8Array.from(atob(match[1]), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

/** Only the end counts: the clock of a client that has just made its certificate may be ahead of ours. */
const isCurrent = (pem: string, now: string): boolean => now <= certificateDates(pemToDer(pem)).notAfter;
