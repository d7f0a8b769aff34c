import { describe, expect, it } from 'vitest';
import { AppError } from '#protocol/errors.ts';
import { guardDb, isUniqueViolation, mapDbError, runBatch } from '#worker/state/db.ts';
import { projects } from '#worker/state/schema.ts';
import { openTestDb } from './helpers.ts';

const caught = async (call: () => Promise<unknown>): Promise<unknown> => {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
};

describe('database errors', () => {
  it('a batch with a taken name writes nothing and is a conflict that names the table', async () => {
    const db = await openTestDb();
    const insert = (name: string) => db.insert(projects).values({ name, config: { secret: 'hidden' } });
    const error = await caught(() => runBatch(db, [insert('p1'), insert('default')]));
    expect(isUniqueViolation(error)).toBe(true);
    expect(error).toMatchObject({ code: 'conflict', message: 'This "projects" entry already exists' });
    expect(await db.select().from(projects)).toHaveLength(1);
  });

  it('never carries SQL or parameters in its own text', async () => {
    const db = await openTestDb();
    const error = await caught(() =>
      guardDb(() => db.insert(projects).values({ name: 'default', config: { a: 'hidden' } })),
    );
    expect(error).toBeInstanceOf(AppError);
    expect(String(error)).not.toContain('hidden');
    expect(String(error)).not.toContain('insert');
  });

  it.each([
    [new Error('Network connection lost.'), 'unavailable'],
    [new DOMException('The operation timed out', 'TimeoutError'), 'unavailable'],
    [new Error('Failed query: select 1', { cause: new Error('SQLITE_BUSY: database is locked') }), 'unavailable'],
    [new Error('SQLITE_IOERR: SQLite error: disk I/O error'), 'unavailable'],
    [new Error('SQLITE_FULL: database or disk is full'), 'unavailable'],
    [new Error('SERVER_ERROR: Server returned HTTP status 503'), 'unavailable'],
    [new Error('SQLITE_ERROR: no such column: x'), 'internal'],
  ])('%s is %s', (error, code) => {
    expect(mapDbError(error).code).toBe(code);
  });
});
