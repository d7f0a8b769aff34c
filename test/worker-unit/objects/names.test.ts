import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { InstanceNames } from '#protocol/instance-names.ts';
import type { ClusterEvent } from '#worker/objects/contract.ts';
import { createNameFeed, createNameGreeter, type NamesFrame, nameFrames, newsOf } from '#worker/objects/names.ts';

const log = { warn: () => {} };
const named = (name: string, address?: string): InstanceNames => ({
  project: 'default',
  name,
  addresses: address === undefined ? [] : [{ network: 'lxdbr0', address }],
});
const ref = (name: string) => ({ project: 'default', name });
const news = (...names: string[]) => ({ refs: names.map(ref), members: [], all: false });
const event = (action: string, source: string, more: Record<string, unknown> = {}, project?: string): ClusterEvent => ({
  type: 'lifecycle',
  timestamp: '2026-11-21T10:00:00.000Z',
  location: 'm1',
  ...(project === undefined ? {} : { project }),
  metadata: { action, source, ...more },
});

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A feed over a changeable world. */
function world(rows: Record<string, string | undefined>) {
  const told: NamesFrame[] = [];
  const asked: string[][] = [];
  let failures = 0;
  const fail = (times: number) => {
    failures = times;
  };
  const feed = createNameFeed({
    log,
    list: async () => Object.entries(rows).flatMap(([name, address]) => (address ? [named(name, address)] : [])),
    find: async (refs) => {
      asked.push(refs.map(({ name }) => name));
      if (failures > 0) {
        failures--;
        throw new Error('away');
      }
      return refs.map(({ name }) => named(name, rows[name]));
    },
    tell: async (frames) => void told.push(...frames),
  });
  return { ...feed, told, asked, fail };
}

describe('what events say of names', () => {
  it.each([
    [event('instance-started', '/1.0/instances/c1'), ['default/c1']],
    [event('instance-deleted', '/1.0/instances/c1?project=shop', {}, 'shop'), ['shop/c1']],
    [event('instance-renamed', '/1.0/instances/new', { context: { old_name: 'old' } }), ['default/new', 'default/old']],
    [event('instance-exec', '/1.0/instances/c1'), []],
    [event('image-created', '/1.0/images/c1'), []],
  ])('%j', (one, expected) => {
    expect(newsOf([one]).refs.map(({ project, name }) => `${project}/${name}`)).toEqual(expected);
  });

  it('a removed member may have taken any of them along', () => {
    expect(newsOf([event('cluster-member-removed', '/1.0/cluster/members/m1')]).all).toBe(true);
  });
});

describe('telling names', () => {
  it('gathers a burst into one read and one frame', async () => {
    const { note, told, asked } = world({ c1: '10.0.0.1', c2: '10.0.0.2' });
    for (let count = 0; count < 20; count++) note(news('c1', 'c2'));
    await vi.runAllTimersAsync();
    expect(asked).toEqual([['c1', 'c2']]);
    expect(told).toEqual([
      { type: 'names', full: false, instances: [named('c1', '10.0.0.1'), named('c2', '10.0.0.2')] },
    ]);
  });

  it('says nothing twice, and takes back what is gone', async () => {
    const rows: Record<string, string | undefined> = { c1: '10.0.0.1' };
    const { note, told } = world(rows);
    note(news('c1'));
    await vi.runAllTimersAsync();
    note(news('c1'));
    await vi.runAllTimersAsync();
    expect(told).toHaveLength(1);
    rows.c1 = undefined;
    note(news('c1'));
    await vi.runAllTimersAsync();
    expect(told.at(-1)?.instances).toEqual([named('c1')]);
  });

  it('tries again what the database or a shard did not take', async () => {
    const { note, told, fail } = world({ c1: '10.0.0.1' });
    fail(3);
    note(news('c1'));
    await vi.runAllTimersAsync();
    expect(told.flatMap(({ instances }) => instances)).toEqual([named('c1', '10.0.0.1')]);
  });

  it('begins anew after a removal', async () => {
    const { note, told } = world({ c1: '10.0.0.1' });
    note({ refs: [ref('c2')], members: [], all: true });
    await vi.runAllTimersAsync();
    expect(told).toEqual([{ type: 'names', full: true, instances: [named('c1', '10.0.0.1')] }]);
  });
});

describe('greeting members', () => {
  it('answers those that come together by one read, again until it works', async () => {
    let reads = 0;
    const list = async () => {
      reads++;
      if (reads === 1) throw new Error('away');
      return [named('c1', '10.0.0.1')];
    };
    const { greet } = createNameGreeter({ list, log });
    const got: NamesFrame[][] = [[], []];
    for (const frames of got) greet((frame) => void frames.push(frame));
    await vi.runAllTimersAsync();
    expect(reads).toBe(2);
    for (const frames of got) expect(frames).toEqual(nameFrames([named('c1', '10.0.0.1')], true));
  });
});

describe('frames of names', () => {
  it('are one that begins anew, also when there are none, and more for many', () => {
    expect(nameFrames([], true)).toEqual([{ type: 'names', full: true, instances: [] }]);
    expect(nameFrames([], false)).toEqual([]);
    const many = nameFrames(
      Array.from({ length: 2_500 }, (_, index) => named(`c${index}`, '10.0.0.1')),
      true,
    );
    expect(many.map(({ full, instances }) => [full, instances.length])).toEqual([
      [true, 1_000],
      [false, 1_000],
      [false, 500],
    ]);
  });
});
