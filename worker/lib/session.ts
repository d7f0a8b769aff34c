/**
 * Session tokens: what an agent shows after the handshake for streams, image downloads and its local socket. A JWT signed
 * by the control plane, so that checking one needs no database read; a removed member is refused by the routes that matter.
 */
import { jwtVerify, SignJWT } from 'jose';
import { sha256Hex } from './crypto.ts';

const AUDIENCE = 'longshore-agent';
/** Renewed over the link at half of it (`SESSION_RENEW_MS`). */
const LIFETIME = '24h';
export const SESSION_RENEW_MS = 12 * 3_600_000;

interface SigningEnv {
  SIGNING_SECRET: string;
}

function signingKey(env: SigningEnv): Uint8Array {
  const key = Uint8Array.from(atob(env.SIGNING_SECRET), (char) => char.charCodeAt(0));
  if (key.length < 32) throw new Error('SIGNING_SECRET must be at least 32 bytes in base64');
  return key;
}

/** Bound to the member's key, so that it is worth nothing to whoever has the member's name later. */
export async function issueSession(env: SigningEnv, member: string, publicKey: string): Promise<string> {
  return new SignJWT({ key: await keyId(publicKey) })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(member)
    .setAudience(AUDIENCE)
    .setIssuedAt()
    .setExpirationTime(LIFETIME)
    .sign(signingKey(env));
}

/** The member a token was issued to, or null for anything that is not a valid token of ours. */
export async function verifySession(env: SigningEnv, token: string): Promise<{ member: string; keyId: string } | null> {
  try {
    const { payload } = await jwtVerify(token, signingKey(env), { audience: AUDIENCE, algorithms: ['HS256'] });
    const { sub, key } = payload;
    return sub === undefined || typeof key !== 'string' ? null : { member: sub, keyId: key };
  } catch {
    return null;
  }
}

/** Of the operator's tokens (`selfhost/recover.ts`), which are made for one command. */
const OPERATOR_AUDIENCE = 'longshore-operator';
const OPERATOR_AGE = '1h';

/** Whether the token was made, lately, by who has the signing secret. */
export async function isOperator(env: SigningEnv, token: string): Promise<boolean> {
  try {
    const options = { audience: OPERATOR_AUDIENCE, algorithms: ['HS256'], maxTokenAge: OPERATOR_AGE };
    await jwtVerify(token, signingKey(env), options);
    return true;
  } catch {
    return false;
  }
}

/** Names a public key in a token; collisions cannot be made. */
export const keyId = async (publicKey: string): Promise<string> => (await sha256Hex(publicKey)).slice(0, 32);

/** The token of an `Authorization: Bearer …` header. */
export function bearerToken(request: Request): string | null {
  const match = /^Bearer ([A-Za-z0-9_.-]+)$/.exec(request.headers.get('authorization') ?? '');
  return match?.[1] ?? null;
}
