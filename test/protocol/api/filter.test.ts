import { describe, expect, it } from 'vitest';
import { matchesFilter, parseFilter } from '#protocol/api/filter.ts';
import { compileLinear } from '#protocol/linear-regex.ts';

const WEB = {
  name: 'web-1',
  status: 'Running',
  status_code: 103,
  ephemeral: false,
  location: 'node1',
  profiles: ['default', 'www'],
  config: { 'user.team': 'Blue Team', 'limits.cpu': '2', 'user.expr': 'a+b' },
  expanded_devices: { eth0: { type: 'nic', network: 'br0' }, 'my.dev': { type: 'disk' } },
};

const matches = (filter: string) => matchesFilter(parseFilter(filter), WEB);

describe('filter', () => {
  it.each([
    '',
    '   ',
    'name eq web-1',
    'NOT name eq db',
    'name eq web.*',
    'name eq WEB-[0-9]',
    'name eq ^web',
    'name eq 1$',
    'status eq running',
    'status_code eq 103',
    'ephemeral eq false',
    'profiles eq www',
    'config.user.team eq "blue team"',
    'config.limits.cpu eq 2',
    'config.user.missing ne x',
    'expanded_devices.eth0.network eq br0',
    'expanded_devices.my.dev.type eq disk',
    'name eq db or name eq web-1',
    'name eq web-1 and location eq node1',
    'name eq db and status eq running or location eq node1',
    'name eq (web|db)-\\d',
    'config.user.expr eq a\\+b',
  ])('passes an instance by %j', (filter) => {
    expect(matches(filter)).toBe(true);
  });

  it.each([
    'name eq web',
    'name ne web-1',
    'not name eq web-1',
    'name eq web-1 and status eq stopped',
    'location eq node1 or name eq db and status eq stopped',
    'config.user.missing eq x',
    'config eq x',
    'constructor.name eq Object',
    'status_code eq 10',
  ])('holds an instance back by %j', (filter) => {
    expect(matches(filter)).toBe(false);
  });

  it.each(['name', 'name eq', 'name is web', 'name eq a b', 'name eq a and', 'name eq "a', 'not'])(
    'refuses %j',
    (filter) => {
      expect(() => parseFilter(filter)).toThrow(/Invalid filter/);
    },
  );

  it('refuses a filter longer than anybody types', () => {
    expect(() => parseFilter(`name eq ${'a'.repeat(9000)}`)).toThrow(/too long/);
  });

  it('compares as text what is no pattern', () => {
    const object = { name: '(a' };
    expect(matchesFilter(parseFilter('name eq (a'), object)).toBe(true);
    expect(matchesFilter(parseFilter('name eq (b'), object)).toBe(false);
  });

  it.each(['(a+)+$', '(a|a)*$', '(.*)*x', 'a?'.repeat(30) + 'a'.repeat(30), '(a{50}){50}', '((a*)*)*$'])(
    'answers the hostile pattern %j at once',
    (pattern) => {
      const filter = parseFilter(`name eq ${pattern}`);
      const started = performance.now();
      for (let i = 0; i < 20; i++) matchesFilter(filter, { name: `${'a'.repeat(1000)}!` });
      expect(performance.now() - started).toBeLessThan(2_000);
    },
  );
});

describe('compileLinear agrees with the engine of the language', () => {
  const patterns = [
    'abc',
    'a.c',
    '^a',
    'c$',
    '^$',
    'a*',
    'a+b',
    'a?b',
    'a{2}',
    'a{2,}',
    'a{1,2}$',
    '[a-c]+',
    '[^a-c]',

    '\\d+',
    '\\w\\s\\w',
    '\\D',
    'a|b|^c$',
    '(ab)+',
    '(?:a|bc)*d',
    '^(a|b)*?c$',
    '\\.',
    'x-[0-9]{1,3}',
    '[a-]',
    '(^a|b$)',
    'a||b',
  ];
  const texts = [
    '',
    'a',
    'b',
    'c',
    'ab',
    'abc',
    'aab',
    'abcd',
    'ababd',
    'bcbcd',
    'a c',
    'A.C',
    '12',
    'x-1234',
    ']',
    '-',
    'aa',
    'aaa',
    'caaa',
  ];

  it.each(patterns)('on %j', (pattern) => {
    const test = compileLinear(pattern);
    expect(test).not.toBeNull();
    const reference = new RegExp(pattern, 'i');
    for (const text of texts) expect([text, test?.(text)]).toEqual([text, reference.test(text)]);
  });

  it.each(['(', ')', '*a', '[a', 'a{2', '(?=a)', '(?<x>a)', '\\1', '\\', 'a{101}', '\\b', '[[:alpha:]]'])(
    'leaves %j to be compared as text',
    (pattern) => {
      expect(compileLinear(pattern)).toBeNull();
    },
  );
});
