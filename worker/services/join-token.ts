/**
 * Join tokens for hosts that have another right to join: the trust password, the bootstrap token of a control plane that has
 * no members yet, or a certificate that `POST /1.0/certificates` trusted as a joining server's (lxd-api 8.4). Each is turned
 * into a token for one name, so that there is one way in and it is atomic.
 */
import { badRequest, forbidden } from '#protocol/errors.ts';
import { JoinToken, type JoinTokenRequest } from '#protocol/join.ts';
import { parseExpiry, TRUST_PASSWORD } from '#worker/domain/server-config.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { sha256Hex, timingSafeEqual, verifyPassword } from '#worker/lib/crypto.ts';
import { findCertificate } from '#worker/state/certificates.ts';
import { findServerConfig } from '#worker/state/config.ts';
import { listMembers } from '#worker/state/members.ts';
import type { Authorized } from './context.ts';
import { issueJoinToken, JOIN_LIFE } from './tokens.ts';
import { limitAttempts } from './trust-attempts.ts';

/** Where the self-hosted control plane leaves the hash of its bootstrap token. */
const BOOTSTRAP = 'internal.bootstrap-token';

/**
 * A token for `request.serverName`. `peer` is the fingerprint of the caller's TLS certificate. Throws 403 without a right,
 * 400 or 409 for a name that cannot join.
 */
export async function exchangeForJoinToken(
  ctx: Authorized,
  request: JoinTokenRequest,
  peer: string | null,
): Promise<JoinToken> {
  const { serverName } = request;
  await limitAttempts(ctx, ctx.principal.address, async () => {
    if (request.bootstrap !== undefined) await checkBootstrap(ctx, request.bootstrap);
    else if (request.password !== undefined) await checkPassword(ctx, request.password);
    else await checkJoiningServer(ctx, serverName, peer);
  });
  const { metadata } = await issueJoinToken(ctx, serverName);
  const token = JoinToken.safeParse({
    ...metadata,
    server_name: metadata?.serverName,
    expires_at: metadata?.expiresAt,
  });
  if (!token.success) throw badRequest('This control plane has no address that hosts could be told');
  return token.data;
}

/** The right to be the first member ends with the first member, and is there again when the last one was removed. */
async function checkBootstrap(ctx: Authorized, secret: string): Promise<void> {
  const stored = await findServerConfig(ctx.db, BOOTSTRAP);
  if (stored === undefined || !timingSafeEqual(await sha256Hex(secret), stored)) {
    throw forbidden('The bootstrap token is not this control plane’s');
  }
  if ((await listMembers(ctx.db)).length > 0) {
    throw forbidden('The bootstrap token is for the first member only: use a token of "lxc cluster add"');
  }
}

async function checkPassword(ctx: Authorized, password: string): Promise<void> {
  const stored = await findServerConfig(ctx.db, TRUST_PASSWORD);
  if (password === '' || stored === undefined || !(await verifyPassword(password, stored))) throw forbidden();
}

async function checkJoiningServer(ctx: Authorized, name: string, peer: string | null): Promise<void> {
  const row = peer === null ? undefined : await findCertificate(ctx.db, peer);
  if (row === undefined || row.type !== 'server' || row.name !== name) throw forbidden();
  const life = parseExpiry((await findServerConfig(ctx.db, 'cluster.join_token_expiry')) ?? JOIN_LIFE) ?? 0;
  if (shiftIso(row.createdAt, life) <= ctx.now()) throw forbidden('The trust of this joining server has expired');
}
