import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSealer } from '#worker/lib/seal.ts';

const secret = (byte: number, length = 32) => ({ SIGNING_SECRET: Buffer.alloc(length, byte).toString('base64') });

describe('a sealed text', () => {
  it('is had back by who has the key and knows what it is about', async () => {
    const sealer = createSealer(secret(1));
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme' }), fc.string(), async (text, about) => {
        expect(await createSealer(secret(1)).open(await sealer.seal(text, about), about)).toBe(text);
      }),
      { numRuns: 30 },
    );
  });

  it('is different each time, and shows nothing of the text', async () => {
    const sealer = createSealer(secret(1));
    const [one, other] = await Promise.all([sealer.seal('whsec_abc', 'a'), sealer.seal('whsec_abc', 'a')]);
    expect(one).not.toBe(other);
    expect(Buffer.from(one.split('.')[2] ?? '', 'base64').toString('latin1')).not.toContain('whsec');
  });

  it('cannot be opened with another key, for another row, or changed', async () => {
    const sealed = await createSealer(secret(1)).seal('text', 'trigger 1');
    const last = sealed.at(-3) === 'A' ? 'B' : 'A';
    const changed = `${sealed.slice(0, -3)}${last}${sealed.slice(-2)}`;
    for (const attempt of [
      () => createSealer(secret(2)).open(sealed, 'trigger 1'),
      () => createSealer(secret(1)).open(sealed, 'trigger 2'),
      () => createSealer(secret(1)).open(changed, 'trigger 1'),
      () => createSealer(secret(1)).open('text', 'trigger 1'),
    ]) {
      await expect(attempt()).rejects.toThrow();
    }
  });

  it('is not made with a signing secret that is too short', async () => {
    await expect(createSealer(secret(1, 16)).seal('text', 'a')).rejects.toThrow('SIGNING_SECRET');
  });
});
