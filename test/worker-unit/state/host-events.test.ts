import { expect, it } from 'vitest';
import type { HostEvent } from '#protocol/host-events.ts';
import { applyHostEvents } from '#worker/state/host-events.ts';
import { applyInventory } from '#worker/state/inventory.ts';
import { events, instances } from '#worker/state/schema.ts';
import { actionsOf, addInstance, openTestDb, report, T1 } from './helpers.ts';

const event = (seq: number, action: HostEvent['action'], status: HostEvent['status'], name = 'c1'): HostEvent => ({
  seq,
  at: `2026-11-21T00:00:0${seq}.000Z`,
  action,
  project: 'default',
  name,
  status,
});

it('writes what happened without a link in order, with the times of then, and the inventory after it tells it not again', async () => {
  const db = await openTestDb();
  await addInstance(db, 'c1', { status: 'Running' });
  const told = [
    event(1, 'instance-stopped', 'Stopped'),
    { ...event(2, 'instance-exec', null), context: { command: ['ls'] } },
    event(3, 'instance-started', 'Running'),
    event(4, 'instance-shutdown', 'Stopped'),
  ];
  const followup = await applyHostEvents(db, { member: 'm1', events: told, now: T1 });
  expect(followup.events.map(({ timestamp }) => timestamp)).toEqual(told.map(({ at }) => at));
  expect(await db.select().from(events)).toMatchObject(
    told.map(({ at, action }) => ({
      timestamp: at,
      location: 'm1',
      project: 'default',
      metadata: { action, source: '/1.0/instances/c1' },
    })),
  );
  expect(await db.select().from(instances).get()).toMatchObject({ status: 'Stopped', stateAt: T1 });
  const seen = { member: 'm1', full: true, instances: [report('c1', 'Stopped')], now: T1 };
  expect((await applyInventory(db, seen)).events).toEqual([]);
});

it('writes an event once, however often it comes', async () => {
  const db = await openTestDb();
  await addInstance(db, 'c1', { status: 'Running' });
  const told = [event(1, 'instance-stopped', 'Stopped'), event(2, 'instance-started', 'Running')];
  await applyHostEvents(db, { member: 'm1', events: told, now: T1 });
  const again = await applyHostEvents(db, {
    member: 'm1',
    events: [...told, event(3, 'instance-paused', 'Frozen')],
    now: T1,
  });
  expect(actionsOf(again.events)).toEqual(['instance-paused']);
  expect(await db.select().from(events)).toHaveLength(3);
});

it('takes nothing from a member about the instances of others', async () => {
  const db = await openTestDb();
  await addInstance(db, 'c1', { member: 'm2', status: 'Running' });
  const told = [event(1, 'instance-stopped', 'Stopped'), event(2, 'instance-stopped', 'Stopped', 'nobody')];
  const followup = await applyHostEvents(db, { member: 'm1', events: told, now: T1 });
  expect(followup.events).toEqual([]);
  expect((await db.select().from(instances).get())?.status).toBe('Running');
});
