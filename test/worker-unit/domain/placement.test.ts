import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PlacementInput, type PlacementMember, place } from '#worker/domain/placement.ts';

const GIB = 2 ** 30;

function member(name: string, fields: Partial<PlacementMember> = {}): PlacementMember {
  return {
    name,
    online: true,
    evacuated: false,
    architecture: 'x86_64',
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
function launch(members: PlacementMember[], times: number): string[] {
  const names: string[] = [];
  let now = members;
  for (let i = 0; i < times; i += 1) {
    const name = chosen(now);
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
    ['out of memory', { load: load(0, 0.3) }, 'it has too little free memory'],
    ['overcommitted', { reservedBytes: 11.7 * GIB }, 'its memory is promised to other instances'],
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
