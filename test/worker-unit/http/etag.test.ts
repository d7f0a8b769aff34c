import { describe, expect, it } from 'vitest';
import { checkIfMatch, etag } from '#worker/http/etag.ts';

describe('etags', () => {
  it('do not depend on the order of keys, but on everything else', async () => {
    expect(await etag({ a: '1', b: { c: 2, d: 3 } })).toBe(await etag({ b: { d: 3, c: 2 }, a: '1' }));
    expect(await etag(['a', 'b'])).not.toBe(await etag(['b', 'a']));
    expect(await etag({ a: '1' })).not.toBe(await etag({ a: 1 }));
  });

  it.each([null, '', '*', '"abc"', 'abc', 'W/"abc"', ' W/"abc" '])('match %j', (sent) => {
    expect(() => checkIfMatch(sent, '"abc"')).not.toThrow();
  });

  it('that differ are refused with 412 and both values', () => {
    expect(() => checkIfMatch('W/"old"', '"new"')).toThrow("ETag doesn't match: new vs old");
  });
});
