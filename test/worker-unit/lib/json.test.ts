import { expect, it } from 'vitest';
import { parseWellFormed } from '#worker/lib/json.ts';

it.each([
  ['"\\ud83d\\ude00"', '😀'],
  ['"\\ud83d"', '\ufffd'],
  ['"\\ude00\\ud83d"', '\ufffd\ufffd'],
  ['"a\\uDBFFb"', 'a\ufffdb'],
  ['"\\\\ud83d"', '\\ud83d'],
  ['"\\\\\\ud83d"', '\\\ufffd'],
  ['{"\\ud800":["\\udfff\\n"]}', { '\ufffd': ['\ufffd\n'] }],
  ['"plain \\u00e9"', 'plain é'],
])('reads %s as text that can be stored', (text, value) => {
  expect(parseWellFormed(text)).toEqual(value);
});

it('throws for what is no JSON', () => {
  for (const text of ['"\\ud8', '"\\ud83d', '{', '\\ud83d']) expect(() => parseWellFormed(text)).toThrow(SyntaxError);
});
