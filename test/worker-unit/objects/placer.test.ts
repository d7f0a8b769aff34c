import { describe, expect, it } from 'vitest';
import { DEFAULT_POLICY } from '#worker/domain/placement-policy.ts';
import type { PlacementRequest } from '#worker/objects/contract.ts';
import { Placer, type PlacerDeps, RESERVATION_MS } from '#worker/objects/placer.ts';
import type { PlacementSnapshot } from '#worker/state/placement.ts';

const GIB = 2 ** 30;
const host = (name: string): PlacementSnapshot['members'][number] => ({
  name,
  online: true,
  blocked: false,
  evacuated: false,
  architecture: 'x86_64',
  failureDomain: 'default',
  groups: [],
  config: {},
  memoryTotalBytes: 8 * GIB,
  cpuCount: 4,
  instances: 0,
  reservedBytes: 0,
  creatingBytes: 0,
  pools: ['local'],
  networks: [],
  images: [],
});

const request = (instanceId: string, memoryBytes = 0): PlacementRequest => ({
  instanceId,
  project: 'default',
  name: instanceId,
  architecture: 'x86_64',
  pool: 'local',
  networks: [],
  imageFingerprint: null,
  memoryBytes,
  target: null,
});

/** A cluster whose database holds `rows`: instance → member. */
function cluster(names: string[]) {
  const rows = new Map<string, string>();
  const clock = { nowMs: 1_000 };
  const reads: string[][] = [];
  const deps: PlacerDeps = {
    async read(reserved) {
      reads.push(reserved);
      const counted = reserved.filter((id) => rows.has(id));
      const count = (name: string) => [...rows.values()].filter((member) => member === name).length;
      return {
        counted,
        policy: DEFAULT_POLICY,
        members: names.map((name) => ({ ...host(name), instances: count(name) })),
      };
    },
    presence: async () => [],
    nowMs: () => clock.nowMs,
  };
  const placer = new Placer(deps);
  const put = async (id: string, memoryBytes = 0) => {
    const answer = await placer.place(request(id, memoryBytes));
    return answer.ok ? answer.placement.member : answer.error.code;
  };
  return { placer, put, rows, clock, reads };
}

describe('the placer', () => {
  it('never gives parallel launches the same stale numbers', async () => {
    const { put } = cluster(['a', 'b', 'c']);
    const members = await Promise.all(['i1', 'i2', 'i3', 'i4', 'i5', 'i6'].map((id) => put(id)));
    expect(members.sort()).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  });

  it('lets requests that come together share a read, but never one that began before', async () => {
    const { put, reads } = cluster(['a', 'b']);
    await Promise.all([put('i1'), put('i2'), put('i3')]);
    expect(reads).toHaveLength(2);
  });

  it('counts a launch once when its row is there and its reservation not yet settled', async () => {
    const { put, rows } = cluster(['a', 'b']);
    rows.set('old', 'b');
    expect(await put('i1')).toBe('a');
    rows.set('i1', 'a');
    expect(await put('i2')).toBe('a');
  });

  it('stops counting a reservation when it is settled without a row', async () => {
    const { put, placer } = cluster(['a', 'b']);
    expect(await put('i1')).toBe('a');
    placer.settle('i1');
    expect(await put('i2')).toBe('a');
  });

  it('counts a reservation that was settled after the read began', async () => {
    const { put, placer } = cluster(['a', 'b']);
    expect(await put('i1')).toBe('a');
    const second = put('i2');
    placer.settle('i1');
    expect(await second).toBe('b');
  });

  it('forgets a reservation that nobody settled after its time', async () => {
    const { put, clock } = cluster(['a', 'b']);
    expect(await put('i1')).toBe('a');
    clock.nowMs += RESERVATION_MS;
    expect(await put('i2')).toBe('a');
  });

  it('spreads instances that leave a member, which counts them still, over the others', async () => {
    const { placer, rows } = cluster(['node1', 'node2', 'node3']);
    for (const id of ['a', 'b', 'c', 'd']) rows.set(id, 'node1');
    const moves = ['a', 'b', 'c', 'd'].map((id) => placer.place({ ...request(`move:${id}`), avoid: 'node1' }));
    const places = (await Promise.all(moves)).map((answer) => (answer.ok ? answer.placement.member : null));
    expect(places.sort()).toEqual(['node2', 'node2', 'node3', 'node3']);
  });

  it('does not promise memory twice', async () => {
    const { put } = cluster(['a']);
    const answers = await Promise.all(['i1', 'i2', 'i3'].map((id) => put(id, 4 * GIB)));
    expect(answers).toEqual(['a', 'a', 'unavailable']);
  });

  it('fails those who share a read that failed, and goes on afterwards', async () => {
    let broken = true;
    const placer = new Placer({
      read: async () => {
        if (broken) throw new Error('away');
        return { counted: [], policy: DEFAULT_POLICY, members: [host('a')] };
      },
      presence: async () => [],
      nowMs: () => 0,
    });
    await expect(placer.place(request('i1'))).rejects.toThrow('away');
    broken = false;
    expect(await placer.place(request('i1'))).toMatchObject({ ok: true });
  });
});
