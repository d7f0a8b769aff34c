import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import type { ExternalIssuer } from '#worker/domain/oidc.ts';
import { createIssuerKeys, newIssuerMemory } from '#worker/lib/issuer-keys.ts';
import { recognizeExternalToken } from '#worker/services/oidc-external.ts';

const ISSUER = 'https://id.example.org/realm';
const NOW = '2026-11-21T10:00:00.000Z';
const now = Date.parse(NOW) / 1000;
const MODE: ExternalIssuer = {
  kind: 'external',
  issuer: ISSUER,
  clientId: 'lxd',
  audience: '',
  claim: '',
  scopes: '',
  allowPrivate: false,
};
const CLAIMS = { iss: ISSUER, sub: 'u-1', aud: 'lxd', email: 'ada@example.org', exp: now + 60, iat: now };

/** An identity provider, how often it was asked, and the clock of who asks it. */
async function openProvider(alg = 'RS256') {
  const pages = new Map<string, unknown>();
  const asked: string[] = [];
  const failures: unknown[] = [];
  const clock = { ms: 1 };
  const addKey = async (kid: string) => {
    const pair = await generateKeyPair(alg);
    const known = pages.get(`${ISSUER}/keys`) as { keys: unknown[] } | undefined;
    pages.set(`${ISSUER}/keys`, { keys: [...(known?.keys ?? []), { ...(await exportJWK(pair.publicKey)), kid, alg }] });
    return (claims: JWTPayload) => new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(pair.privateKey);
  };
  pages.set(`${ISSUER}/.well-known/openid-configuration`, { issuer: ISSUER, jwks_uri: `${ISSUER}/keys` });
  const keys = createIssuerKeys({
    memory: newIssuerMemory(),
    read: async (url) => {
      asked.push(url);
      if (!pages.has(url)) throw new Error(`${url} answered 404`);
      return pages.get(url);
    },
    mayLead: (url) => url.startsWith('https://id.example.org/'),
    onFailure: (error) => void failures.push(error),
    nowMs: () => clock.ms,
  });
  return { pages, asked, failures, clock, keys, addKey };
}

describe('a token of a configured issuer', () => {
  it.each(['RS256', 'ES256', 'PS256', 'EdDSA'])('names its user, signed by %s', async (alg) => {
    const { keys, addKey } = await openProvider(alg);
    const sign = await addKey('one');
    expect(await recognizeExternalToken(MODE, keys, await sign(CLAIMS), NOW)).toBe('ada@example.org');
  });

  it.each([
    ['its subject, without an e-mail address', { email: undefined }, {}, 'u-1'],
    ['the claim that is configured', { name: 'Ada' }, { claim: 'name' }, 'Ada'],
    ['nobody without that claim', {}, { claim: 'name' }, null],
    ['nobody by a claim that is no text', { name: ['ada'] }, { claim: 'name' }, null],
    ['nobody by a name with control characters', { email: 'a\nb' }, {}, null],
    ['nobody of another issuer', { iss: 'https://evil.example.org' }, {}, null],
    ['nobody when it was made for another program', { aud: 'wiki' }, {}, null],
    ['its user when that program acts for ours', { aud: 'wiki', azp: 'lxd' }, {}, 'ada@example.org'],
    ['its user for the audience that is configured', { aud: ['wiki', 'api'] }, { audience: 'api' }, 'ada@example.org'],
    ['nobody for another audience, though it is for our client', {}, { audience: 'api' }, null],
    ['nobody when it has expired', { exp: now - 6 }, {}, null],
    ['nobody when it never expires', { exp: undefined }, {}, null],
    ['nobody before it counts', { nbf: now + 60 }, {}, null],
  ])('names %s', async (_, claims, mode, expected) => {
    const { keys, addKey } = await openProvider();
    const sign = await addKey('one');
    const token = await sign({ ...CLAIMS, ...claims });
    expect(await recognizeExternalToken({ ...MODE, ...mode }, keys, token, NOW)).toBe(expected);
  });

  it('is nobody’s when it is signed by a public key as if that were a secret, or not at all', async () => {
    const { keys, addKey, pages } = await openProvider();
    await addKey('one');
    const secret = new TextEncoder().encode(JSON.stringify(pages.get(`${ISSUER}/keys`)));
    const forged = await new SignJWT(CLAIMS).setProtectedHeader({ alg: 'HS256', kid: 'one' }).sign(secret);
    const unsigned = `${btoa('{"alg":"none"}').replace(/=/g, '')}.${forged.split('.')[1]}.`;
    for (const token of [forged, unsigned, 'x.y.z', '']) {
      expect(await recognizeExternalToken(MODE, keys, token, NOW)).toBeNull();
    }
  });
});

describe('the keys of a configured issuer', () => {
  it('are asked for once, however many tokens come, and again for one that is new', async () => {
    const { keys, addKey, asked, clock } = await openProvider();
    const first = await addKey('one');
    for (let count = 0; count < 5; count += 1) await recognizeExternalToken(MODE, keys, await first(CLAIMS), NOW);
    expect(asked).toHaveLength(2);
    clock.ms += 31_000;
    const second = await addKey('two');
    expect(await recognizeExternalToken(MODE, keys, await second(CLAIMS), NOW)).toBe('ada@example.org');
    expect(asked).toHaveLength(4);
  });

  it('are not asked for again and again by tokens with keys that were made up', async () => {
    const [{ keys, addKey, asked }, forger] = await Promise.all([openProvider(), openProvider()]);
    const [sign, forge] = [await addKey('one'), await forger.addKey('made-up')];
    for (let count = 0; count < 20; count += 1) {
      expect(await recognizeExternalToken(MODE, keys, await forge(CLAIMS), NOW)).toBeNull();
    }
    expect(asked.length).toBe(2);
    expect(await recognizeExternalToken(MODE, keys, await sign(CLAIMS), NOW)).toBe('ada@example.org');
  });

  it('stay known while the issuer is away for a while, not for ever', async () => {
    const { keys, addKey, pages, clock, failures } = await openProvider();
    const sign = await addKey('one');
    const recognize = async () => recognizeExternalToken(MODE, keys, await sign(CLAIMS), NOW);
    expect(await recognize()).toBe('ada@example.org');
    pages.clear();
    clock.ms += 3_600_000;
    expect(await recognize()).toBe('ada@example.org');
    expect(failures).toHaveLength(1);
    clock.ms += 24 * 3_600_000;
    expect(await recognize()).toBeNull();
  });

  it.each([
    ['calls itself something else', { issuer: 'https://evil.example.org', jwks_uri: `${ISSUER}/keys` }],
    ['leads to an address that it may not', { issuer: ISSUER, jwks_uri: 'https://169.254.169.254/keys' }],
    ['says nothing of keys', { issuer: ISSUER }],
    ['is no object', 'hello'],
  ])('are none of an issuer that %s, and that is no error of the request', async (_, discovery) => {
    const { keys, addKey, pages, failures } = await openProvider();
    const sign = await addKey('one');
    pages.set(`${ISSUER}/.well-known/openid-configuration`, discovery);
    expect(await recognizeExternalToken(MODE, keys, await sign(CLAIMS), NOW)).toBeNull();
    expect(failures).toHaveLength(1);
  });

  it('are asked for again when those who asked never heard the answer', async () => {
    const { keys, addKey, pages, clock, asked } = await openProvider();
    const sign = await addKey('one');
    const url = `${ISSUER}/.well-known/openid-configuration`;
    const discovery = pages.get(url);
    pages.set(url, new Promise(() => {}));
    for (let count = 0; count < 20; count += 1) void keys.get(ISSUER, false);
    await Promise.resolve();
    expect(asked).toHaveLength(8);
    pages.set(url, discovery);
    clock.ms += 16_000;
    expect(await recognizeExternalToken(MODE, keys, await sign(CLAIMS), NOW)).toBe('ada@example.org');
  });

  it('are had by all who ask at the same moment', async () => {
    const { keys, addKey } = await openProvider();
    const token = await (await addKey('one'))(CLAIMS);
    const named = await Promise.all(Array.from({ length: 6 }, () => recognizeExternalToken(MODE, keys, token, NOW)));
    expect(new Set(named)).toEqual(new Set(['ada@example.org']));
  });
});
