import { describe, expect, it } from 'vitest';
import { hashPassword, newSecret, sha256Hex, timingSafeEqual, verifyPassword } from '#worker/lib/crypto.ts';
import { shardOf } from '#worker/lib/id.ts';

describe('secrets', () => {
  it('are 64 hex digits, new each time', () => {
    expect(newSecret()).toMatch(/^[0-9a-f]{64}$/);
    expect(newSecret()).not.toBe(newSecret());
  });

  it('are hashed by SHA-256', async () => {
    expect(await sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it.each([
    ['abc', 'abc', true],
    ['abc', 'abd', false],
    ['abc', 'abcd', false],
    ['', '', true],
  ])('%j and %j are equal: %s', (a, b, equal) => {
    expect(timingSafeEqual(a, b)).toBe(equal);
  });

  it('a password is recognised by its salted hash only', async () => {
    const stored = await hashPassword('sesame');
    expect(stored).not.toBe(await hashPassword('sesame'));
    expect(await verifyPassword('sesame', stored)).toBe(true);
    expect(await verifyPassword('Sesame', stored)).toBe(false);
    expect(await verifyPassword('sesame', 'sesame')).toBe(false);
  });
});

describe('shards', () => {
  it('are the same for a name for ever', () => {
    expect(['m1', 'host-001', 'ünï'].map((name) => shardOf(name, 8))).toMatchInlineSnapshot(`
      [
        3,
        5,
        6,
      ]
    `);
    expect(shardOf('anything', 1)).toBe(0);
  });
});
