import { createClient, type ResultSet } from '@libsql/client';
import { describe, expect, it, onTestFinished } from 'vitest';
import { newPosition, noteIndex, preferReplica, type Reader, withIndex } from '#worker/state/near-reader.ts';

function database(name: string) {
  const client = createClient({ url: ':memory:' });
  onTestFinished(() => client.close());
  let broken = false;
  const asked = { count: 0 };
  const ask = async (): Promise<ResultSet> => {
    asked.count += 1;
    if (broken) throw new Error('cut');
    return client.execute(`select '${name}' as name`);
  };
  const reader: Reader = { execute: ask, batch: async () => [await ask()] };
  return {
    reader,
    asked,
    breakIt: (value = true) => {
      broken = value;
    },
  };
}

describe('preferReplica', () => {
  const nameOf = (result: ResultSet) => result.rows[0]?.name;

  it('asks the replica, and the primary while the replica is away', async () => {
    const [replica, primary] = [database('replica'), database('primary')];
    let clock = 0;
    const position = { ...newPosition(), index: 7n };
    const near = preferReplica(replica.reader, primary.reader, position, () => clock);
    expect(nameOf(await near.execute('select 1'))).toBe('replica');
    replica.breakIt();
    expect(nameOf(await near.execute('select 1'))).toBe('primary');
    expect(nameOf(await near.execute('select 1'))).toBe('primary');
    expect(replica.asked.count).toBe(2);
    replica.breakIt(false);
    clock = 60_000;
    // What the primary's answer has told meanwhile.
    position.index = 8n;
    expect(nameOf(await near.execute('select 1'))).toBe('replica');
  });

  it('asks the primary as long as it has not seen how far the database is', async () => {
    const [replica, primary] = [database('replica'), database('primary')];
    const position = newPosition();
    const near = preferReplica(replica.reader, primary.reader, position);
    expect(nameOf(await near.execute('select 1'))).toBe('primary');
    position.index = 1n;
    expect(nameOf(await near.execute('select 1'))).toBe('replica');
  });

  it('gives the primary’s error when both fail', async () => {
    const [replica, primary] = [database('replica'), database('primary')];
    replica.breakIt();
    primary.breakIt();
    await expect(preferReplica(replica.reader, primary.reader, newPosition()).batch([])).rejects.toThrow('cut');
  });
});

describe('the position', () => {
  const answer = (...indexes: unknown[]) =>
    JSON.stringify({ results: indexes.map((index) => ({ response: { result: { replication_index: index } } })) });

  it('moves forward only, by whatever an answer says', () => {
    const position = newPosition();
    noteIndex(position, answer('7', null, '9', '8', 'x'));
    expect(position.index).toBe(9n);
    noteIndex(position, answer('3'));
    expect(position.index).toBe(9n);
    noteIndex(position, '{"results":[{"type":"error"}]}');
    expect(position.index).toBe(9n);
  });

  it('is named in each statement and batch of a pipeline', () => {
    const pipeline = {
      requests: [{ type: 'execute', stmt: { sql: 's' } }, { type: 'batch', batch: { steps: [] } }, { type: 'close' }],
    };
    const text = JSON.stringify(pipeline);
    expect(withIndex(newPosition(), text)).toBe(text);
    expect(JSON.parse(withIndex({ index: 12n, restUntilMs: 0 }, text)).requests).toEqual([
      { type: 'execute', stmt: { sql: 's', replication_index: '12' } },
      { type: 'batch', batch: { steps: [], replication_index: '12' } },
      { type: 'close' },
    ]);
  });
});
