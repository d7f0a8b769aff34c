import { createClient, type InStatement } from '@libsql/client';
import { describe, expect, it, onTestFinished } from 'vitest';
import { gatherReads } from '#worker/state/gather.ts';

function open() {
  const client = createClient({ url: ':memory:' });
  onTestFinished(() => client.close());
  const trips: number[] = [];
  const counting = new Proxy(client, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (property !== 'execute' && property !== 'batch') return value;
      return (...args: unknown[]) => {
        trips.push(Array.isArray(args[0]) ? args[0].length : 1);
        return typeof value === 'function' ? Reflect.apply(value, target, args) : undefined;
      };
    },
  });
  return { read: gatherReads(counting), trips };
}

const select = (value: number): InStatement => ({ sql: 'select ? as n', args: [value] });
const numbers = (results: Awaited<ReturnType<ReturnType<typeof gatherReads>>>) =>
  results.map(({ rows }) => Number(rows[0]?.n));

describe('reads of one turn', () => {
  it('are one batch, and each gets its own results', async () => {
    const { read, trips } = open();
    const later = async () => {
      await null;
      return read([select(4)]);
    };
    const all = await Promise.all([read([select(1)]), read([select(2), select(3)]), later()]);
    expect(all.map(numbers)).toEqual([[1], [2, 3], [4]]);
    expect(trips).toEqual([4]);
  });

  it('are apart from those that wait for them', async () => {
    const { read, trips } = open();
    await read([select(1)]);
    expect(numbers(await read([select(2)]))).toEqual([2]);
    expect(trips).toEqual([1, 1]);
  });

  it('fail together, and the next ones do not', async () => {
    const { read } = open();
    const results = await Promise.allSettled([read([select(1)]), read(['select nothing from nowhere'])]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(numbers(await read([select(2)]))).toEqual([2]);
  });
});
