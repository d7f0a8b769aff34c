/** Access tokens of the built-in OIDC issuer: what a good one is good for, now. */
import { decodeJwt } from 'jose';
import { builtinIssuers } from '#worker/domain/oidc.ts';
import { verifyAccessToken } from '#worker/lib/oidc-token.ts';
import { findLogin } from '#worker/state/logins.ts';
import type { UserRow } from '#worker/state/users.ts';
import type { Context } from './context.ts';
import { findPublicKey } from './oidc-key.ts';

/**
 * The user it was issued to. Null for a token that is not ours or has expired, and for a good one whose login or user is
 * gone, or once another issuer is configured. One round trip.
 */
export async function recognizeBuiltinToken(ctx: Context, token: string): Promise<UserRow | null> {
  const { sid } = decodeJwt(token);
  if (typeof sid !== 'string') return null;
  const [publicKey, found] = await Promise.all([findPublicKey(ctx), findLogin(ctx.db, sid)]);
  if (publicKey === null || found === undefined) return null;
  const now = ctx.now();
  const claims = await verifyAccessToken(publicKey, token, { issuers: builtinIssuers(ctx.vars.publicAddresses), now });
  const { login, user, elsewhere } = found;
  if (claims === null || claims.loginId !== login.id || claims.userName !== user.name) return null;
  return login.expiresAt > now && !elsewhere ? user : null;
}
