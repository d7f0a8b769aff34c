/**
 * The built-in OIDC issuer: the device flow (RFC 8628) and refreshing. A program asks and is given two codes; a person who
 * types one of them and a password allows it; the program fetches the login with the other code.
 */
import { forbidden, tooMany } from '#protocol/errors.ts';
import { BUILTIN_CLIENT, makeUserCode } from '#worker/domain/oidc.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { NO_PASSWORD, newSecret, sha256Hex, verifyPassword } from '#worker/lib/crypto.ts';
import { ACCESS_TOKEN_SECONDS, signAccessToken, signIdToken } from '#worker/lib/oidc-token.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import {
  type DeviceLoginRow,
  decideLogin,
  fetchLogin,
  findDeviceLogin,
  findLoginToRefresh,
  findWaitingLogin,
  insertDeviceLogin,
  type LoginRow,
} from '#worker/state/logins.ts';
import { findUser } from '#worker/state/users.ts';
import type { Context } from './context.ts';
import { ensureOidcKey } from './oidc-key.ts';
import { limitAttempts } from './trust-attempts.ts';

/** Enough to find a browser and a password. */
const DEVICE_CODE_SECONDS = 600;
const POLL_SECONDS = 3;
/** Programs that are used once a month stay logged in. */
const LOGIN_MS = 30 * 86_400_000;

/** What a program asks the token endpoint for in vain; the codes are OAuth's. */
export type OAuthError =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'unsupported_grant_type'
  | 'authorization_pending'
  | 'access_denied'
  | 'expired_token';

export interface Tokens {
  access_token: string;
  token_type: 'Bearer';
  expires_in: number;
  scope: string;
  refresh_token?: string;
  id_token?: string;
}

type IssuerContext = Context & { sealer: Sealer };

/** Throws 429 when too many programs wait already. */
export async function askForLogin(ctx: Context, address: string) {
  const [deviceCode, userCode, now] = [newSecret(), newUserCode(), ctx.now()];
  const expiresAt = shiftIso(now, DEVICE_CODE_SECONDS * 1000);
  const row = { deviceHash: await sha256Hex(deviceCode), userCode, address, createdAt: now, expiresAt };
  if (!(await insertDeviceLogin(ctx.db, row))) throw tooMany('Too many logins wait to be allowed', POLL_SECONDS);
  return { deviceCode, userCode, expiresIn: DEVICE_CODE_SECONDS, interval: POLL_SECONDS };
}

function newUserCode(): string {
  for (;;) {
    const code = makeUserCode(crypto.getRandomValues(new Uint8Array(16)));
    if (code !== null) return code;
  }
}

/**
 * Resolves to the user's name. Throws 403 for a wrong name or password, alike in words and time, and 429 after too many from
 * the address.
 */
export async function checkLogin(
  ctx: Context,
  { name, password, address }: { name: string; password: string; address: string },
): Promise<string> {
  return limitAttempts(
    ctx,
    address,
    async () => {
      const user = await findUser(ctx.db, name);
      const isRight = await verifyPassword(password, user?.passwordHash ?? NO_PASSWORD);
      if (user === undefined || !isRight) throw forbidden('Wrong name or password');
      return user.name;
    },
    'login',
  );
}

/** What a person is asked to allow; undefined when nothing waits under this code. */
export const findWaiting = (ctx: Context, userCode: string): Promise<DeviceLoginRow | undefined> =>
  findWaitingLogin(ctx.db, userCode, ctx.now());

/** False when it was decided before, or its time is over. */
export async function decide(
  ctx: Context,
  userCode: string,
  { userName, allow }: { userName: string; allow: boolean },
): Promise<boolean> {
  const done = await decideLogin(ctx.db, userCode, { userName, allow, now: ctx.now() });
  if (done) ctx.log.info(allow ? 'oidc.login.allowed' : 'oidc.login.denied', { user: userName });
  return done;
}

/** Exchanges a device code, once, or refreshes. Throws only when the database is away. */
export async function grantTokens(
  ctx: IssuerContext,
  issuer: string,
  form: URLSearchParams,
): Promise<Tokens | OAuthError> {
  switch (form.get('grant_type')) {
    case 'urn:ietf:params:oauth:grant-type:device_code':
      return grantByDevice(ctx, issuer, form.get('device_code') ?? '');
    case 'refresh_token':
      return refresh(ctx, issuer, form.get('refresh_token') ?? '');
    case null:
      return 'invalid_request';
    default:
      return 'unsupported_grant_type';
  }
}

async function grantByDevice(ctx: IssuerContext, issuer: string, deviceCode: string): Promise<Tokens | OAuthError> {
  const deviceHash = await sha256Hex(deviceCode);
  const now = ctx.now();
  const waiting = await findDeviceLogin(ctx.db, deviceHash);
  if (waiting === undefined) return 'invalid_grant';
  if (waiting.expiresAt <= now) return 'expired_token';
  if (waiting.denied) return 'access_denied';
  if (waiting.userName === null) return 'authorization_pending';
  const refreshToken = newSecret();
  const login = await fetchLogin(ctx.db, deviceHash, {
    id: ctx.newId(),
    refreshHash: await sha256Hex(refreshToken),
    createdAt: now,
    expiresAt: shiftIso(now, LOGIN_MS),
  });
  if (login === undefined) return 'invalid_grant';
  return signTokens(ctx, issuer, login, refreshToken);
}

/**
 * The refresh token stays: programs run side by side with one file of tokens, and a token that changed under one of them
 * would log the others out.
 */
async function refresh(ctx: IssuerContext, issuer: string, refreshToken: string): Promise<Tokens | OAuthError> {
  const login = await findLoginToRefresh(ctx.db, await sha256Hex(refreshToken), ctx.now());
  return login === undefined ? 'invalid_grant' : signTokens(ctx, issuer, login, null);
}

async function signTokens(
  ctx: IssuerContext,
  issuer: string,
  login: LoginRow,
  refreshToken: string | null,
): Promise<Tokens> {
  const key = await ensureOidcKey(ctx);
  const claims = { issuer, loginId: login.id, userName: login.userName, now: ctx.now() };
  return {
    access_token: await signAccessToken(key, claims, BUILTIN_CLIENT),
    token_type: 'Bearer',
    expires_in: ACCESS_TOKEN_SECONDS,
    scope: 'openid offline_access',
    ...(refreshToken === null
      ? {}
      : { refresh_token: refreshToken, id_token: await signIdToken(key, claims, BUILTIN_CLIENT) }),
  };
}
