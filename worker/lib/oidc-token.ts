/**
 * Tokens of the built-in OIDC issuer: ES256, which every OIDC client of LXD and Incus takes. An access token (RFC 9068) names
 * the login it belongs to; whether that still counts is what is stored about it. The signature keeps guesses away.
 */
import { exportJWK, generateKeyPair, importJWK, type JWK, jwtVerify, SignJWT } from 'jose';

const ALGORITHM = 'ES256';
const ACCESS_TYPE = 'at+jwt';
/** What access tokens are for. Of no other kind of token, so that none passes for another. */
const AUDIENCE = 'longshore-oidc';
/** Clients refresh by themselves. What was taken away ends at once all the same. */
export const ACCESS_TOKEN_SECONDS = 3_600;

export interface OidcKey {
  kid: string;
  publicKey: JWK;
  privateKey: JWK;
}

export async function newOidcKey(kid: string): Promise<OidcKey> {
  const pair = await generateKeyPair(ALGORITHM, { extractable: true });
  const [publicKey, privateKey] = await Promise.all([exportJWK(pair.publicKey), exportJWK(pair.privateKey)]);
  return { kid, publicKey: { ...publicKey, kid, alg: ALGORITHM, use: 'sig' }, privateKey };
}

export interface LoginClaims {
  issuer: string;
  loginId: string;
  userName: string;
  /** ISO time. */
  now: string;
}

function sign(key: OidcKey, type: string, audience: string, { issuer, userName, now, ...more }: LoginClaims) {
  const issuedAt = Math.floor(Date.parse(now) / 1000);
  return async (claims: Record<string, unknown>) =>
    new SignJWT({ ...claims, sid: more.loginId })
      .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: type })
      .setIssuer(issuer)
      .setSubject(userName)
      .setAudience(audience)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + ACCESS_TOKEN_SECONDS)
      .sign(await importJWK(key.privateKey, ALGORITHM));
}

export const signAccessToken = (key: OidcKey, claims: LoginClaims, clientId: string): Promise<string> =>
  sign(key, ACCESS_TYPE, AUDIENCE, claims)({ client_id: clientId });

/** For the client alone: it is no access token, here or anywhere. */
export const signIdToken = (key: OidcKey, claims: LoginClaims, clientId: string): Promise<string> =>
  sign(key, 'JWT', clientId, claims)({});

/** What a good access token of one of these issuers says; null for anything else. */
export async function verifyAccessToken(
  publicKey: JWK,
  token: string,
  { issuers, now }: { issuers: string[]; now: string },
): Promise<{ loginId: string; userName: string } | null> {
  try {
    const { payload } = await jwtVerify(token, await importJWK(publicKey, ALGORITHM), {
      issuer: issuers,
      audience: AUDIENCE,
      typ: ACCESS_TYPE,
      algorithms: [ALGORITHM],
      requiredClaims: ['sub', 'sid', 'exp'],
      currentDate: new Date(now),
    });
    const { sid, sub } = payload;
    return typeof sid === 'string' && sub !== undefined ? { loginId: sid, userName: sub } : null;
  } catch {
    return null;
  }
}
