import { SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { bearerKind } from '#worker/http/bearer.ts';
import { signToken, TOKEN_ISSUER, verifyToken } from '#worker/lib/access-token.ts';
import { issueSession, verifySession } from '#worker/lib/session.ts';

const env = { SIGNING_SECRET: Buffer.alloc(32, 7).toString('base64') };
const NOW = '2026-11-21T12:00:00.000Z';
const LATER = '2026-11-21T13:00:00.000Z';
const sign = (signing = env) => signToken(signing, 'token-1', NOW, LATER);

describe('an access token', () => {
  it('tells its id to whoever has the same signing secret, until it expires', async () => {
    const token = await sign();
    // Another object with the same secret: another isolate.
    expect(await verifyToken({ ...env }, token, NOW)).toBe('token-1');
    expect(await verifyToken(env, token, LATER)).toBeNull();
    expect(await verifyToken({ SIGNING_SECRET: Buffer.alloc(32, 8).toString('base64') }, token, NOW)).toBeNull();
  });

  it('is refused when any part of it is changed', async () => {
    const parts = (await sign()).split('.');
    for (const index of [0, 1, 2]) {
      const changed = parts.map((part, at) => (at === index ? flip(part) : part));
      expect(await verifyToken(env, changed.join('.'), NOW)).toBeNull();
    }
    expect(await verifyToken(env, `${parts[0]}.${parts[1]}.`, NOW)).toBeNull();
  });

  it('cannot be made by who only has another kind of credential', async () => {
    const claims = { iss: TOKEN_ISSUER, aud: 'longshore-api', jti: 'token-1', exp: Date.parse(LATER) / 1000 };
    const unsigned = new UnsecuredJWT(claims).encode();
    const symmetric = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'longshore-token+jwt' })
      .sign(Buffer.alloc(32, 7));
    for (const forged of [unsigned, symmetric, await issueSession(env, 'm1', 'key')]) {
      expect(await verifyToken(env, forged, NOW)).toBeNull();
    }
    expect(await verifySession(env, await sign())).toBeNull();
  });
});

describe('the kind of a bearer token', () => {
  it('is told by its issuer', async () => {
    const foreign = new UnsecuredJWT({ iss: 'https://id.example.net' }).encode();
    expect(bearerKind(await issueSession(env, 'm1', 'key'))).toBe('session');
    expect(bearerKind(await sign())).toBe('token');
    expect(bearerKind(foreign)).toBe('oidc');
  });

  it.each(['', 'a.b.c', 'x', `${btoa('{}')}.${btoa('[]')}.x`, `${btoa('{}')}.${btoa('{"iss":1}')}.x`])(
    'is none for %j',
    (text) => expect(bearerKind(text)).toBeNull(),
  );
});

const flip = (part: string) => `${part.startsWith('A') ? 'B' : 'A'}${part.slice(1)}`;
