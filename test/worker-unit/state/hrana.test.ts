import { eq, sql } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isUniqueViolation, mapDbError, openDb, runBatch } from '#worker/state/db.ts';
import { createHranaClient } from '#worker/state/hrana.ts';
import { projects } from '#worker/state/schema.ts';

const Body = z.object({ requests: z.array(z.record(z.string(), z.unknown())) });
type Answerer = (request: Record<string, unknown>) => unknown;

const rows = (names: string[], cells: unknown[][]) => ({
  cols: names.map((name) => ({ name, decltype: null })),
  rows: cells,
  affected_row_count: cells.length,
  last_insert_rowid: null,
});
const ok = (result: unknown) => ({ type: 'ok', response: { type: 'execute', result } });
const failed = (message: string, code: string) => ({ type: 'error', error: { message, code } });
const text = (value: string) => ({ type: 'text', value });

/** A server that notes what each request asks. */
function server(answer: Answerer) {
  const requests: Record<string, unknown>[][] = [];
  const fetch = async (request: Request): Promise<Response> => {
    const body = Body.parse(await request.json());
    requests.push(body.requests);
    return Response.json({ baton: null, results: body.requests.map(answer) });
  };
  return { requests, fetch, db: openDb({ LIBSQL_URL: 'http://db', DB: { fetch } }) };
}

describe('the client of the database', () => {
  it('sends what is read at the same time in one request, and tells the answers apart', async () => {
    const { db, requests } = server((request) =>
      request.type === 'close'
        ? ok(undefined)
        : ok(rows(['n'], [[text(JSON.stringify(request).includes('first') ? 'a' : 'b')]])),
    );
    const one = db.all(sql`select ${'first'} as n`);
    const two = db.select({ name: projects.name }).from(projects).where(eq(projects.name, 'second')).get();
    expect(await Promise.all([one, two])).toEqual([[{ n: 'a' }], { name: 'b' }]);
    expect(requests.map((asks) => asks.map(({ type }) => type))).toEqual([['execute', 'execute', 'close']]);
  });

  it('fails only the statement that failed', async () => {
    const { db } = server((request) =>
      JSON.stringify(request).includes('bad') ? failed('no such column: bad', 'SQLITE_ERROR') : ok(rows(['n'], [])),
    );
    const [good, bad] = await Promise.allSettled([db.all(sql`select 1 as n`), db.all(sql`select bad as n`)]);
    expect(good).toEqual({ status: 'fulfilled', value: [] });
    expect(bad.status).toBe('rejected');
  });

  it('reads every kind of value, by name and by place', async () => {
    const cells = [
      { type: 'integer', value: '7' },
      { type: 'float', value: 1.5 },
      { type: 'null' },
      { type: 'blob', base64: 'AQI=' },
      text('last'),
    ];
    const { fetch } = server(() => ok(rows(['a', 'b', 'c', 'd', 'a'], [cells])));
    const client = createHranaClient({ url: 'http://db', send: fetch });
    const [row] = (await client.execute('select 1')).rows;
    expect({ ...row }).toEqual({ a: 7, b: 1.5, c: null, d: new Uint8Array([1, 2]).buffer });
    expect([row?.[4], row?.length]).toEqual(['last', 5]);
  });

  it('sends arguments as what they are and refuses what no column holds', async () => {
    const { fetch, requests } = server(() => ok(rows([], [])));
    const client = createHranaClient({ url: 'http://db', send: fetch });
    await client.execute({ sql: 'insert', args: ['t', 1, true, null, 9007199254740993n] });
    expect(requests[0]?.[0]).toEqual({
      type: 'execute',
      stmt: {
        sql: 'insert',
        args: [
          text('t'),
          { type: 'float', value: 1 },
          { type: 'integer', value: '1' },
          { type: 'null' },
          { type: 'integer', value: '9007199254740993' },
        ],
      },
    });
    await expect(client.execute({ sql: 'insert', args: [Number.NaN] })).rejects.toThrow('finite');
  });

  it('makes a batch of writes one transaction that rolls back, and names the failure', async () => {
    const { db, requests } = server(() =>
      ok({
        step_results: [rows([], []), null, null, rows([], [])],
        step_errors: [
          null,
          { message: 'UNIQUE constraint failed: projects.name', code: 'SQLITE_CONSTRAINT' },
          null,
          null,
        ],
      }),
    );
    const error = await runBatch(db, [db.insert(projects).values({ name: 'p', config: {} })]).catch(
      (it: unknown) => it,
    );
    expect(isUniqueViolation(error)).toBe(true);
    expect(error).toMatchObject({ code: 'conflict' });
    expect(requests[0]?.[0]).toMatchObject({
      type: 'batch',
      batch: {
        steps: [
          { stmt: { sql: 'BEGIN IMMEDIATE' } },
          { condition: { type: 'ok', step: 0 } },
          { condition: { type: 'ok', step: 1 }, stmt: { sql: 'COMMIT' } },
          { condition: { type: 'not', cond: { type: 'ok', step: 2 } }, stmt: { sql: 'ROLLBACK' } },
        ],
      },
    });
  });

  it.each([
    ['a server that is away', () => Promise.reject(new TypeError('fetch failed')), 'unavailable'],
    ['a server that is overloaded', async () => new Response('', { status: 503 }), 'unavailable'],
    ['an answer that is none', async () => new Response('{}'), 'internal'],
  ])('%s fails every statement that was waiting', async (_, fetch, code) => {
    const db = openDb({ LIBSQL_URL: 'http://db', DB: { fetch } });
    const results = await Promise.allSettled([db.all(sql`select 1`), db.all(sql`select 2`)]);
    expect(results.map((it) => it.status === 'rejected' && mapDbError(it.reason).code)).toEqual([code, code]);
  });
});
