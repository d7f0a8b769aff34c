import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TriggerParameter, TriggerTemplate } from '#worker/domain/trigger.ts';
import { isPointer, lookUp, matchesAll, matchesWhole, readParameters } from '#worker/domain/trigger-payload.ts';
import { checkPlaceholders, fillTemplate, usedParameters } from '#worker/domain/trigger-template.ts';

const TEMPLATE: TriggerTemplate = {
  name: 'ci-{{job}}',
  description: 'of {{label}}',
  alias: 'debian/12',
  fingerprint: '',
  profiles: ['default'],
  config: { 'user.label': '{{label}}', 'security.nesting': 'true' },
  devices: { eth0: { type: 'nic', network: 'br0' } },
  ephemeral: true,
  target: '',
};
const parameter = (fields: Partial<TriggerParameter>): TriggerParameter => ({
  pointer: '/x',
  type: 'string',
  pattern: '[a-z]+',
  maximum: 32,
  fallback: null,
  ...fields,
});

describe('a JSON pointer', () => {
  const payload = { 'a/b': 1, 'm~n': 2, '': 3, list: [10, { x: 11 }], nested: { '0': 'zero' }, none: null };
  it.each([
    ['', payload],
    ['/a~1b', 1],
    ['/m~0n', 2],
    ['/', 3],
    ['/list/0', 10],
    ['/list/1/x', 11],
    ['/nested/0', 'zero'],
    ['/none', null],
    ['/list/-', undefined],
    ['/list/01', undefined],
    ['/list/length', undefined],
    ['/list/2', undefined],
    ['/none/x', undefined],
    ['/toString', undefined],
    ['/__proto__', undefined],
    ['/constructor/name', undefined],
  ])('%j finds what RFC 6901 says, and nothing inherited', (pointer, value) => {
    expect(lookUp(payload, pointer)).toEqual(value);
  });

  it.each(['a', '/~2', '/~', `/${'a'.repeat(600)}`])('%j is none', (text) => {
    expect(isPointer(text)).toBe(false);
  });

  it('never throws, whatever the payload', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.array(fc.string()), (value, parts) => {
        lookUp(value, parts.map((part) => `/${part}`).join(''));
      }),
    );
  });
});

describe('conditions', () => {
  const delivery = {
    header: (name: string) => (name === 'x-event' ? 'push' : null),
    payload: { action: 'queued', labels: ['a', 'b'], n: 5, on: false },
  };
  it.each([
    [true, [{ header: 'x-event', equals: 'push' }]],
    [false, [{ header: 'x-other', equals: 'push' }]],
    [true, [{ pointer: '/action', in: ['queued', 'waiting'] }]],
    [true, [{ pointer: '/labels', contains: 'b' }]],
    [false, [{ pointer: '/action', contains: 'queued' }]],
    [true, [{ pointer: '/n', equals: 5 }]],
    [false, [{ pointer: '/n', equals: '5' }]],
    [true, [{ pointer: '/on', equals: false }]],
    [true, [{ pointer: '/action', pattern: 'que.*' }]],
    [false, [{ pointer: '/action', pattern: 'que' }]],
    [false, [{ pointer: '/absent', pattern: '.*' }]],
    [
      false,
      [
        { pointer: '/n', equals: 5 },
        { pointer: '/action', equals: 'completed' },
      ],
    ],
    [true, []],
  ])('hold: %j for %j', (expected, conditions) => {
    expect(matchesAll(conditions, delivery)).toBe(expected);
  });
});

describe('parameters', () => {
  it('are their own type, in their bounds, or their default', () => {
    const read = (fields: Partial<TriggerParameter>, x?: unknown) =>
      readParameters({ p: parameter(fields) }, ['p'], x === undefined ? {} : { x });
    expect(read({}, 'abc')).toEqual({ ok: true, values: { p: 'abc' } });
    expect(read({ maximum: 2 }, 'abc').ok).toBe(false);
    expect(read({ type: 'integer', maximum: 9 }, 9)).toEqual({ ok: true, values: { p: '9' } });
    for (const value of [10, -1, 1.5, 2 ** 60, '9', true, null]) {
      expect([value, read({ type: 'integer', maximum: 9 }, value).ok]).toEqual([value, false]);
    }
    expect(read({ type: 'boolean' }, false)).toEqual({ ok: true, values: { p: 'false' } });
    expect(read({ fallback: 'none' })).toEqual({ ok: true, values: { p: 'none' } });
    expect(read({ fallback: 'none' }, 'ABC').ok).toBe(false);
  });

  it('that do not fit are refused without their value in the text', () => {
    const refusal = readParameters({ p: parameter({}) }, ['p'], { x: 'Secret-Value' });
    expect(JSON.stringify(refusal)).not.toContain('Secret');
  });

  it('never carry a line break or NUL, whatever the pattern', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.constantFrom('\n', '\r', '\0'),
        fc.string(),
        (before, bad, after) => {
          expect(matchesWhole('[^q]*', `${before}${bad}${after}`)).toBe(false);
        },
      ),
    );
  });

  it('match the whole text only, upper and lower case apart', () => {
    expect(['abc', 'abcd1', 'ABC', '\u212a'].map((text) => matchesWhole('[a-z]+', text))).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});

describe('a template', () => {
  it('takes parameters in its open fields and nothing else, whatever they hold', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (job, label) => {
        const body = fillTemplate(TEMPLATE, { job, label });
        expect(body).toMatchObject({
          name: `ci-${job}`,
          description: `of ${label}`,
          config: { 'user.label': label, 'security.nesting': 'true' },
          devices: TEMPLATE.devices,
          profiles: ['default'],
          start: true,
        });
      }),
    );
  });

  it('is filled once: what was put in is not looked at again', () => {
    expect(fillTemplate(TEMPLATE, { job: '{{label}}', label: '$& {{job}}' }).description).toBe('of $& {{job}}');
  });

  it('names the parameters it needs, and refuses those nobody declared', () => {
    expect(usedParameters(TEMPLATE)).toEqual(['job', 'label']);
    expect(checkPlaceholders(TEMPLATE, ['job', 'label'])).toBe(null);
    expect(checkPlaceholders(TEMPLATE, ['job'])).toContain('label');
    expect(checkPlaceholders(TEMPLATE, [])).not.toBe(null);
    expect(checkPlaceholders({ ...TEMPLATE, name: '{{constructor}}' }, ['job', 'label'])).toContain('constructor');
  });

  it.each([
    ['target', { target: '{{job}}' }],
    ['profiles', { profiles: ['{{job}}'] }],
    ['fingerprint', { fingerprint: '{{job}}' }],
    ['devices', { devices: { d: { source: '{{job}}' } } }],
    ['names of keys', { config: { 'user.{{job}}': 'x' } }],
    ['security.*', { config: { 'security.privileged': '{{job}}' } }],
    ['raw.*', { config: { 'raw.lxc': '{{job}}' } }],
    ['volatile.*', { config: { 'volatile.idmap.base': '{{job}}' } }],
  ])('has no placeholder in %s', (_, change) => {
    expect(checkPlaceholders({ ...TEMPLATE, ...change }, ['job', 'label'])).not.toBe(null);
  });
});
