import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PlacementInput, type PlacementMember, place } from '#worker/domain/placement.ts';
import { DEFAULT_POLICY, placementPolicy } from '#worker/domain/placement-policy.ts';
import { checkServerConfig } from '#worker/domain/server-config.ts';

const GIB = 2 ** 30;

function member(name: string, fields: Partial<PlacementMember> = {}): PlacementMember {
  return {
    name,
    online: true,
    blocked: false,
    evacuated: false,
    architecture: 'x86_64',
    failureDomain: 'default',
    groups: ['default'],
    config: {},
    load: { memoryTotalBytes: 8 * GIB, memoryAvailableBytes: 6 * GIB, cpuCount: 4, cpuLoad: 0.2 },
    memoryTotalBytes: 8 * GIB,
    cpuCount: 4,
    instances: 0,
    reservedBytes: 0,
    pendingBytes: 0,
    pools: new Set(['local']),
    networks: new Set(['lxdbr0']),
    hasImage: false,
    ...fields,
  };
}

const input = (members: PlacementMember[], fields: Partial<PlacementInput> = {}): PlacementInput => ({
  members,
  policy: DEFAULT_POLICY,
  target: null,
  architecture: 'x86_64',
  pool: 'local',
  networks: ['lxdbr0'],
  memoryBytes: 0,
  ...fields,
});

const load = (cpuLoad: number, availableGib = 6) => ({
  memoryTotalBytes: 8 * GIB,
  memoryAvailableBytes: availableGib * GIB,
  cpuCount: 4,
  cpuLoad,
});

const chosen = (members: PlacementMember[], fields: Partial<PlacementInput> = {}) => {
  const result = place(input(members, fields));
  return result.ok ? result.member : result.code;
};

/** Launches one after another, each counted where it went. */
function launch(members: PlacementMember[], times: number, fields: Partial<PlacementInput> = {}): string[] {
  const names: string[] = [];
  let now = members;
  for (let i = 0; i < times; i += 1) {
    const name = chosen(now, fields);
    names.push(name);
    now = now.map((m) => (m.name === name ? { ...m, instances: m.instances + 1 } : m));
  }
  return names;
}

describe('placement', () => {
  it('spreads three launches over three empty members', () => {
    expect(launch([member('a'), member('b'), member('c')], 3)).toEqual(['a', 'b', 'c']);
  });

  it('spreads them although loads and memory differ a little', () => {
    const members = [
      member('a', { load: load(0.9) }),
      member('b', { load: load(0.2, 5) }),
      member('c', { load: load(1.4) }),
    ];
    expect(launch(members, 3).sort()).toEqual(['a', 'b', 'c']);
  });

  it('gives a busy host nothing while a quiet one can take it', () => {
    const members = [member('busy', { load: load(8) }), member('quiet', { instances: 40 })];
    expect(launch(members, 5)).toEqual(Array(5).fill('quiet'));
  });

  it.each([
    ['half of its cores', 2],
    ['all of its cores', 4],
  ])('gives less than half of an even share to a host with %s taken by others', (_what, cpuLoad) => {
    const members = ['a', 'b', 'c', 'd'].map((name) => member(name, { load: load(name === 'd' ? cpuLoad : 0.2) }));
    const went = launch(members, 100);
    expect(went.filter((name) => name === 'd').length).toBeLessThan(12.5);
    for (const name of ['a', 'b', 'c']) expect(went.filter((n) => n === name).length).toBeGreaterThan(25);
  });

  it('stays even while loads jitter by less than a quarter of the cores', () => {
    const members = [0, 0.4, 0.7, 0.99].map((cpuLoad, index) => member(`m${index}`, { load: load(cpuLoad) }));
    const went = launch(members, 100);
    for (const { name } of members) expect(went.filter((n) => n === name).length).toBe(25);
  });

  it('does not tell apart hosts that are all overloaded: the count decides', () => {
    const members = [member('a', { load: load(16) }), member('b', { load: load(10), instances: 1 })];
    expect(chosen(members)).toBe('a');
  });

  it('uses the busy host when it is the only one', () => {
    expect(chosen([member('busy', { load: load(8) }), member('away', { online: false })])).toBe('busy');
  });

  it('takes the host with the image when the rest is alike', () => {
    expect(chosen([member('a'), member('b', { hasImage: true })])).toBe('b');
  });

  it.each([
    ['offline', { online: false }, 'it is offline'],
    ['evacuated', { evacuated: true }, 'it is evacuated'],
    ['of another architecture', { architecture: 'aarch64' }, 'its architecture is aarch64'],
    ['without the pool', { pools: new Set<string>() }, 'storage pool "local" does not exist there'],
    ['without the network', { networks: new Set<string>() }, 'network "lxdbr0" does not exist there'],
    [
      'manual',
      { config: { 'scheduler.instance': 'manual' } },
      'it takes instances only by name (scheduler.instance=manual)',
    ],
    [
      'group only',
      { config: { 'scheduler.instance': 'group' } },
      'it takes instances only by group (scheduler.instance=group)',
    ],
    ['out of memory', { load: load(0, 0.3) }, 'it has too little free memory (0B)'],
    [
      'overcommitted',
      { reservedBytes: 11.7 * GIB },
      'its memory is promised to other instances (11.70GiB with this one, at most 11.40GiB)',
    ],
    ['of an agent too old', { blocked: true, online: false }, 'its agent is too old'],
  ])('passes over a member that is %s, and says so', (_what, fields, reason) => {
    const result = place(input([member('a', fields), member('b', { instances: 9 })]));
    expect(result).toMatchObject({ ok: true, member: 'b', rejections: [{ member: 'a', reason }] });
  });

  it.each([
    ['a member', 'b', {}, 'b'],
    ['a manual member by name', 'b', { config: { 'scheduler.instance': 'manual' } }, 'b'],
    ['a group', '@gpu', { groups: ['gpu'] }, 'b'],
    [
      'a group, with a member that takes only groups',
      '@gpu',
      { groups: ['gpu'], config: { 'scheduler.instance': 'group' } },
      'b',
    ],
    ['an unknown member', 'x', {}, 'not_found'],
    ['an evacuated member', 'b', { evacuated: true }, 'forbidden'],
    ['an offline member', 'b', { online: false }, 'unavailable'],
    ['an empty group', '@none', {}, 'unavailable'],
  ] as const)('with %s as target: %s %o → %s', (_what, target, fields, expected) => {
    expect(chosen([member('a'), member('b', fields)], { target })).toBe(expected);
  });

  it('packs when told so: one member until it is full, then the next', () => {
    const policy = placementPolicy({ 'placement.strategy': 'pack', 'placement.memory_overcommit': '1' });
    const full = member('b', { reservedBytes: 7 * GIB, instances: 7 });
    const members = [member('a'), full];
    expect(launch(members, 3, { policy })).toEqual(['b', 'b', 'b']);
    expect(launch(members, 3, { policy, memoryBytes: GIB })).toEqual(['a', 'a', 'a']);
  });

  it('packs nothing on a busy member', () => {
    const policy = placementPolicy({ 'placement.strategy': 'pack' });
    expect(chosen([member('a', { load: load(8), instances: 9 }), member('b')], { policy })).toBe('b');
  });

  it('alternates between failure domains while members stay even', () => {
    const domains = { a: 'east', b: 'east', c: 'east', d: 'west' };
    const members = Object.entries(domains).map(([name, failureDomain]) => member(name, { failureDomain }));
    const went = launch(members, 8);
    expect(went.slice(0, 2).map((name) => domains[name as keyof typeof domains])).toEqual(['east', 'west']);
    expect(went.sort()).toEqual(['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd']);
  });

  it('looks at no failure domain when told so', () => {
    const policy = placementPolicy({ 'placement.failure_domains': 'false' });
    const members = ['a', 'b', 'c'].map((name) => member(name, { failureDomain: name === 'c' ? 'west' : 'east' }));
    expect(launch(members, 2, { policy })).toEqual(['a', 'b']);
  });

  it('keeps back what the operator reserves, by size or share', () => {
    const reserve = (value: string) => placementPolicy({ 'placement.reserve_memory': value });
    const members = [member('a', { load: load(0, 4) })];
    expect(chosen(members, { policy: reserve('3GiB') })).toBe('a');
    expect(chosen(members, { policy: reserve('4GiB') })).toBe('unavailable');
    expect(chosen(members, { policy: reserve('49%') })).toBe('unavailable');
  });

  it('shows what a score is made of', () => {
    const result = place(input([member('a', { instances: 2, hasImage: true }), member('b', { load: load(8) })]));
    expect(result).toMatchObject({
      ok: true,
      scores: [
        { member: 'a', parts: { memory: 30, cpu: 40, instances: -50, image: 0.5, failureDomain: 0, busy: 0 } },
        { member: 'b', parts: { cpu: -210, busy: -1_000_000 } },
      ],
    });
  });

  it('says why no member can take it, member by member', () => {
    const result = place(input([member('a', { online: false }), member('b', { architecture: 'aarch64' })]));
    const message = 'No suitable cluster member (a: it is offline; b: its architecture is aarch64)';
    expect(result).toMatchObject({ ok: false, code: 'unavailable', message });
  });

  it.each([
    ['placement.strategy', 'random', 'Invalid value "random" (not one of [spread pack])'],
    ['placement.memory_overcommit', 'much', 'invalid ratio'],
    ['placement.memory_overcommit', '0', 'Value must be between 0.1 and 100'],
    ['placement.reserve_memory', '5 potatoes', 'Invalid size "5 potatoes"'],
    ['placement.reserve_memory', '101%', 'Value must be at most 100%'],
    ['placement.failure_domains', 'perhaps', 'invalid boolean'],
  ])('refuses %s=%s with LXD’s words', (key, value, why) => {
    expect(checkServerConfig({ [key]: value })).toBe(`cannot set '${key}' to '${value}': ${why}`);
  });

  it.each([
    ['placement.strategy', 'pack'],
    ['placement.memory_overcommit', '2.5'],
    ['placement.reserve_memory', '10%'],
    ['placement.reserve_memory', '2GiB'],
    ['placement.failure_domains', 'off'],
  ])('takes %s=%s', (key, value) => {
    expect(checkServerConfig({ [key]: value })).toBeNull();
  });

  const anyMember = fc
    .record({
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      online: fc.boolean(),
      evacuated: fc.boolean(),
      instances: fc.nat(20),
      reservedBytes: fc.nat(16).map((gib) => gib * GIB),
      cpuLoad: fc.double({ min: 0, max: 16, noNaN: true }),
      free: fc.nat(8),
      hasImage: fc.boolean(),
    })
    .map(({ name, cpuLoad, free, ...fields }) => member(name, { ...fields, load: load(cpuLoad, free) }));
  const anyMembers = fc.uniqueArray(anyMember, { selector: ({ name }) => name, maxLength: 5 });

  it('does not depend on the order of the members', () => {
    fc.assert(
      fc.property(anyMembers, (members) => {
        expect(place(input(members.toReversed()))).toEqual(place(input(members)));
      }),
    );
  });

  it('judges every member once, and never chooses one that is away or evacuated', () => {
    fc.assert(
      fc.property(anyMembers, (members) => {
        const result = place(input(members));
        const judged = [...(result.ok ? result.scores : []), ...result.rejections].map(({ member: name }) => name);
        expect(judged.sort()).toEqual(members.map(({ name }) => name).sort());
        if (!result.ok) return;
        expect(members.find(({ name }) => name === result.member)).toMatchObject({ online: true, evacuated: false });
        expect(result.scores[0]?.member).toBe(result.member);
      }),
    );
  });
});
