/**
 * Bearer tokens for people's tools, as JWTs signed with Ed25519. The key is derived from the signing secret, so there is
 * nothing to store or to lose besides that. The signature keeps guesses away from the database; whether a token still counts,
 * and what for, is what is stored about it.
 */
import { exportJWK, importPKCS8, jwtVerify, SignJWT } from 'jose';

/** Ours alone: sessions have no issuer, OIDC's are URLs. */
export const TOKEN_ISSUER = 'longshore';
const AUDIENCE = 'longshore-api';
/** Explicit typing (RFC 8725): nothing else that is signed with this key passes for one. */
const TYPE = 'longshore-token+jwt';
const ALGORITHM = 'EdDSA';

interface SigningEnv {
  SIGNING_SECRET: string;
}

/** The derivation's label: another label, another key. */
const INFO = new TextEncoder().encode('longshore access tokens v1');
/** PKCS #8 of an Ed25519 key, up to its 32 bytes of seed (RFC 8410). */
const PKCS8_PREFIX = Uint8Array.from([
  0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
]);

interface Keys {
  sign: CryptoKey;
  verify: CryptoKey;
}

const derived = new WeakMap<SigningEnv, Promise<Keys>>();

function keysOf(env: SigningEnv): Promise<Keys> {
  const known = derived.get(env) ?? deriveKeys(env);
  derived.set(env, known);
  return known;
}

async function deriveKeys(env: SigningEnv): Promise<Keys> {
  const secret = Uint8Array.from(atob(env.SIGNING_SECRET), (char) => char.charCodeAt(0));
  if (secret.length < 32) throw new Error('SIGNING_SECRET must be at least 32 bytes in base64');
  const root = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits']);
  const how = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(32), info: INFO };
  const seed = new Uint8Array(await crypto.subtle.deriveBits(how, root, 256));
  const base64 = btoa(String.fromCharCode(...PKCS8_PREFIX, ...seed));
  const pem = `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----`;
  const sign = await importPKCS8(pem, ALGORITHM, { extractable: true });
  const { kty, crv, x } = await exportJWK(sign);
  const open = { kty: kty ?? '', crv: crv ?? '', x: x ?? '' };
  const verify = await crypto.subtle.importKey('jwk', open, { name: 'Ed25519' }, false, ['verify']);
  return { sign, verify };
}

/** The token with this id, good until `expiresAt`. What it is good for is not in it. */
export async function signToken(env: SigningEnv, id: string, issuedAt: string, expiresAt: string): Promise<string> {
  return new SignJWT()
    .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
    .setIssuer(TOKEN_ISSUER)
    .setAudience(AUDIENCE)
    .setJti(id)
    .setIssuedAt(new Date(issuedAt))
    .setExpirationTime(new Date(expiresAt))
    .sign((await keysOf(env)).sign);
}

/** The id of a token that we signed and that has not expired; null for anything else. */
export async function verifyToken(env: SigningEnv, token: string, now: string): Promise<string | null> {
  const { verify } = await keysOf(env);
  try {
    const { payload } = await jwtVerify(token, verify, {
      issuer: TOKEN_ISSUER,
      audience: AUDIENCE,
      typ: TYPE,
      algorithms: [ALGORITHM],
      requiredClaims: ['jti', 'exp'],
      currentDate: new Date(now),
    });
    return payload.jti ?? null;
  } catch {
    return null;
  }
}
