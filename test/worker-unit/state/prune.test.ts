import { describe, expect, it } from 'vitest';
import { prune } from '#worker/jobs/prune.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { commands, events, operations, projects, tokens } from '#worker/state/schema.ts';
import { addCommand, addOperation, openTestDb, T0 } from './helpers.ts';

const later = (hours: number) => shiftIso(T0, hours * 3_600_000);

describe('pruning', () => {
  it('forgets finished operations with their commands, never what runs or waits', async () => {
    const db = await openTestDb();
    await addOperation(db, 'done', { status: 200 });
    await addOperation(db, 'running');
    const params = { fingerprint: 'f' };
    await addCommand(
      db,
      { id: 'k1', name: 'image.delete', params },
      { operationId: 'done', status: 'done', finishedAt: T0 },
    );
    await addCommand(db, { id: 'k2', name: 'image.delete', params }, { operationId: 'running' });
    await prune(db, later(0.5));
    expect(await db.select().from(operations)).toHaveLength(2);
    await prune(db, later(2));
    expect((await db.select().from(operations)).map(({ id }) => id)).toEqual(['running']);
    expect((await db.select().from(commands)).map(({ id }) => id)).toEqual(['k2']);
  });

  it('forgets events after a week', async () => {
    const db = await openTestDb();
    const metadata = { action: 'a', source: 's' };
    await db.insert(events).values({ location: 'm1', timestamp: T0, metadata });
    await prune(db, later(6 * 24));
    expect(await db.select().from(events)).toHaveLength(1);
    await prune(db, later(8 * 24));
    expect(await db.select().from(events)).toEqual([]);
  });

  it('cancels the operation of an expired token, and the token is gone', async () => {
    const db = await openTestDb();
    await addOperation(db, 'op1', { class: 'token' });
    await db
      .insert(tokens)
      .values({ operationId: 'op1', kind: 'join', secretHash: 'h', name: 'm2', expiresAt: later(3) });
    expect((await prune(db, later(2))).events).toEqual([]);
    expect((await prune(db, later(4))).events).toMatchObject([{ metadata: { id: 'op1', status_code: 401 } }]);
    expect(await db.select().from(tokens)).toEqual([]);
  });
});

describe('a new database', () => {
  it('has the default project with every feature', async () => {
    const db = await openTestDb();
    const row = await db.select().from(projects).get();
    expect(row?.name).toBe('default');
    expect(new Set(Object.values(row?.config ?? {}))).toEqual(new Set(['true']));
  });
});
