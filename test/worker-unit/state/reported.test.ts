import { eq } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import { applyResult } from '#worker/state/commands.ts';
import { applyInventory } from '#worker/state/inventory.ts';
import { findMember, recordHello, setOffline } from '#worker/state/members.ts';
import { commands, instances, operations, storagePools, warnings } from '#worker/state/schema.ts';
import {
  actionsOf,
  addCommand,
  addInstance,
  addMember,
  addOperation,
  addPool,
  createParams,
  openTestDb,
  poolSpec,
  RESOURCES,
  report,
  STATE,
  specOf,
  T0,
  T1,
} from './helpers.ts';

const hello = { member: 'm1', epoch: 2, processId: 'p', version: '1', protocol: 1, resources: RESOURCES, now: T1 };
const inventory = (instances_: ReturnType<typeof report>[], full = false) => ({
  member: 'm1',
  full,
  instances: instances_,
  now: T1,
});

describe('presence', () => {
  it('is written and told once per change', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    const away = { member: 'm1', reason: 'link closed', now: T1 };
    expect(actionsOf((await setOffline(db, away)).events)).toEqual(['cluster-member-updated']);
    expect((await setOffline(db, away)).events).toEqual([]);
    expect(await findMember(db, 'm1')).toMatchObject({ online: false, statusReason: 'link closed' });
    expect(await db.select().from(warnings)).toMatchObject([
      { type: 'Offline cluster member', status: 'new', count: 1, location: 'm1' },
    ]);
    expect(actionsOf((await recordHello(db, hello)).events)).toEqual(['cluster-member-updated']);
    expect((await recordHello(db, hello)).events).toEqual([]);
    expect(await findMember(db, 'm1')).toMatchObject({ online: true, epoch: 2, processId: 'p' });
    expect((await db.select().from(warnings).get())?.status).toBe('resolved');
  });

  it('of an agent that may not work says which came, from the first moment on', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    const agent = { version: '0.0.1', protocol: 0 };
    await setOffline(db, { member: 'm1', reason: 'too old', agent, now: T1 });
    expect(await findMember(db, 'm1')).toMatchObject({ agentVersion: '0.0.1', protocol: 0 });
  });

  it('of one member never holds up making a pool on the others', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    await addMember(db, 'm2');
    await addPool(db, 'local', { m1: 'Pending', m2: 'Created' });
    await addOperation(db, 'op1', { description: 'Creating storage pool' });
    const params = { pool: poolSpec() };
    await addCommand(db, { id: 'k1', name: 'pool.create', params }, { operationId: 'op1' });
    await addCommand(
      db,
      { id: 'k2', name: 'pool.create', params },
      { operationId: 'op1', member: 'm2', status: 'done' },
    );
    const followup = await setOffline(db, { member: 'm1', reason: 'silent', now: T1 });
    expect(actionsOf(followup.events)).toEqual(['cluster-member-updated', 'storage-pool-created']);
    expect((await db.select().from(operations).get())?.status).toBe(200);
    expect((await db.select().from(storagePools).get())?.status).toBe('Created');
    expect((await db.select().from(commands).where(eq(commands.id, 'k1')).get())?.status).toBe('waiting');
  });

  it('leaves launches waiting for the member', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    await addInstance(db, 'c1');
    await addOperation(db, 'op1');
    await addCommand(db, { id: 'k1', name: 'instance.create', params: createParams('c1') }, { operationId: 'op1' });
    await setOffline(db, { member: 'm1', reason: 'silent', now: T1 });
    expect((await db.select().from(operations).get())?.status).toBe(103);
  });
});

describe('inventory', () => {
  it.each([
    ['Running', 'Stopped', ['instance-shutdown']],
    ['Stopped', 'Running', ['instance-started']],
    ['Running', 'Frozen', ['instance-paused']],
    ['Frozen', 'Running', ['instance-resumed']],
    ['Error', 'Running', []],
  ] as const)('tells of %s becoming %s when nobody asked: %o', async (from, to, told) => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { status: from });
    const { events } = await applyInventory(db, inventory([report('c1', to)]));
    expect(actionsOf(events)).toEqual(told);
    expect(await db.select().from(instances).get()).toMatchObject({ status: to, stateAt: T1 });
  });

  it('leaves the telling to the command that was asked', async () => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { status: 'Stopped' });
    const params = { spec: specOf('c1'), action: 'start' as const, timeoutSeconds: -1, force: false };
    await addCommand(db, { id: 'k1', name: 'instance.state', params });
    expect((await applyInventory(db, inventory([report('c1', 'Running')]))).events).toEqual([]);
    const outcome = { ok: true as const, result: { report: report('c1', 'Running'), volatile: {} } };
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome, now: T1 });
    expect(actionsOf(applied.events)).toEqual(['instance-started']);
  });

  it('writes nothing when nothing changed', async () => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { status: 'Running', state: STATE, stateAt: T0 });
    await applyInventory(db, inventory([report('c1', 'Running')]));
    expect((await db.select().from(instances).get())?.stateAt).toBe(T0);
  });

  it('never touches the instance of another member', async () => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { member: 'm2', status: 'Running' });
    await applyInventory(db, inventory([report('c1', 'Stopped')], true));
    expect((await db.select().from(instances).get())?.status).toBe('Running');
    expect(await db.select().from(warnings)).toMatchObject([{ type: 'Instance unknown to the cluster' }]);
  });

  it('when full, shows what is missing as an error, but not what is being created', async () => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { status: 'Running' });
    await addInstance(db, 'c2');
    await addCommand(db, { id: 'k1', name: 'instance.create', params: createParams('c2') });
    await applyInventory(db, inventory([], true));
    const rows = await db.select().from(instances).orderBy(instances.name);
    expect(rows.map(({ name, status }) => [name, status])).toEqual([
      ['c1', 'Error'],
      ['c2', 'Stopped'],
    ]);
  });

  it('when full, warns once of what is not recorded, deletes nothing, and takes the warning back', async () => {
    const db = await openTestDb();
    await applyInventory(db, inventory([report('ghost', 'Running')], true));
    const followup = await applyInventory(db, inventory([report('ghost', 'Running')], true));
    expect(followup.deliveries).toEqual([]);
    expect(await db.select().from(warnings)).toMatchObject([{ status: 'new', count: 2 }]);
    await applyInventory(db, inventory([], true));
    expect((await db.select().from(warnings).get())?.status).toBe('resolved');
  });

  it('warns of a broken instance once, with the reason, and takes the warning back when it is whole or gone', async () => {
    const db = await openTestDb();
    await addInstance(db, 'c1', { status: 'Stopped' });
    const broken = { ...report('c1', 'Error'), state: null, problem: 'Storage volume "c1" is missing' };
    await applyInventory(db, inventory([broken]));
    await applyInventory(db, inventory([broken], true));
    expect(await db.select().from(warnings)).toMatchObject([
      {
        type: 'Instance broken on its cluster member',
        entityUrl: '/1.0/instances/c1',
        severity: 'high',
        status: 'new',
        count: 1,
        lastMessage: 'Instance "c1": Storage volume "c1" is missing',
      },
    ]);
    await applyInventory(db, inventory([report('c1', 'Stopped')]));
    expect((await db.select().from(warnings).get())?.status).toBe('resolved');
    await applyInventory(db, inventory([], true));
    expect((await db.select().from(warnings).get())?.status).toBe('new');
    await db.delete(instances);
    await applyInventory(db, inventory([], true));
    expect((await db.select().from(warnings).get())?.status).toBe('resolved');
  });

  it('deletes an ephemeral instance that stopped by itself, once', async () => {
    const db = await openTestDb();
    await addPool(db, 'local', { m1: 'Created' });
    await addInstance(db, 'c1', { status: 'Running', ephemeral: true });
    const followup = await applyInventory(db, inventory([report('c1', 'Stopped')]));
    expect(followup.deliveries).toMatchObject([{ member: 'm1', orders: [{ name: 'instance.delete' }] }]);
    expect((await applyInventory(db, inventory([report('c1', 'Stopped')], true))).deliveries).toEqual([]);
    expect(await db.select().from(commands)).toHaveLength(1);
  });
});
