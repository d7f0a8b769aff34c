/**
 * Bearer tokens (extension `longshore_tokens`). One is shown once, when it is issued; stored are its hash and what it is good
 * for, so that revoking it takes effect with the next request and changing its claims changes nothing.
 */
import type { AccessTokensPost } from '#protocol/api/access-token.ts';
import { badRequest, notFound } from '#protocol/errors.ts';
import { checkTokenName, isTokenScope, parseTokenLife } from '#worker/domain/access-token.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { sha256Hex, timingSafeEqual } from '#worker/lib/crypto.ts';
import {
  type AccessTokenRow,
  deleteAccessToken,
  findAccessToken,
  insertAccessToken,
  listAccessTokens,
} from '#worker/state/access-tokens.ts';
import { checkProjects } from './certificates.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized, Context } from './context.ts';

/** Signs an id with the times of its issue and its end. */
export type SignToken = (id: string, issuedAt: string, expiresAt: string) => Promise<string>;

export const accessTokenUrl = (id: string): string => `/1.0/auth/tokens/${id}`;

export const accessTokenToApi = (row: AccessTokenRow) => ({
  id: row.id,
  name: row.name,
  scope: row.scope,
  projects: row.projects,
  created_at: row.createdAt,
  expires_at: row.expiresAt,
});

/** Throws 400 for a name, scope or expiry that cannot be, 404 for a project that is not there. */
export async function issueAccessToken(
  ctx: Authorized,
  sign: SignToken,
  { name, scope, projects, expiry }: AccessTokensPost,
): Promise<{ row: AccessTokenRow; token: string }> {
  const refusal = checkTokenName(name);
  if (refusal !== null) throw badRequest(refusal);
  const wanted = scope === '' ? 'full' : scope;
  if (!isTokenScope(wanted)) throw badRequest(`Invalid token scope "${wanted.slice(0, 32)}"`);
  const lifeMs = parseTokenLife(expiry);
  if (lifeMs === null) throw badRequest('Invalid expiry expression: a token lives up to two years');
  if (projects?.length === 0) throw badRequest('A token without any project is good for nothing');
  const now = ctx.now();
  const [id, expiresAt] = [ctx.newId(), shiftIso(now, lifeMs)];
  const token = await sign(id, now, expiresAt);
  const row: AccessTokenRow = {
    id,
    hash: await sha256Hex(token),
    name,
    scope: wanted,
    projects: projects === null ? null : await checkProjects(ctx, projects),
    createdAt: now,
    expiresAt,
  };
  const event = lifecycle(ctx, 'auth-token-created', accessTokenUrl(id));
  await makeChange(ctx, { writes: [insertAccessToken(ctx.db, row)], events: [event] });
  return { row, token };
}

/** Those that are still good. */
export async function accessTokens(ctx: Context): Promise<AccessTokenRow[]> {
  const now = ctx.now();
  return (await listAccessTokens(ctx.db)).filter(({ expiresAt }) => expiresAt > now);
}

/** Throws 404 for one that was never issued, was revoked, or has expired. */
export async function getAccessToken(ctx: Context, id: string): Promise<AccessTokenRow> {
  const row = await findAccessToken(ctx.db, id);
  if (row === undefined || row.expiresAt <= ctx.now()) throw notFound('Token');
  return row;
}

/** It is refused from the next request on. */
export async function revokeAccessToken(ctx: Authorized, { id }: AccessTokenRow): Promise<void> {
  const event = lifecycle(ctx, 'auth-token-deleted', accessTokenUrl(id));
  await makeChange(ctx, { writes: [deleteAccessToken(ctx.db, id)], events: [event] });
}

/** What a token with this id is good for, now. Null when that is nothing. */
export async function recognizeAccessToken(ctx: Context, id: string, token: string): Promise<AccessTokenRow | null> {
  const [row, hash] = await Promise.all([findAccessToken(ctx.db, id), sha256Hex(token)]);
  if (row === undefined || row.expiresAt <= ctx.now() || !timingSafeEqual(row.hash, hash)) return null;
  return row;
}
