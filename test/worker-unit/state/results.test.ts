import { eq } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import { configPatch, devicesPatch } from '#worker/domain/config.ts';
import { applyResult, cancelWaiting, isEnough, listWaitingCommands } from '#worker/state/commands.ts';
import {
  commands,
  events,
  images,
  instances,
  operations,
  storagePoolMembers,
  storagePools,
} from '#worker/state/schema.ts';
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
  report,
  specOf,
  T0,
  T1,
} from './helpers.ts';

const ok = (result: unknown) => ({ ok: true as const, result });
const failed = (message: string, code: 'failed' | 'cancelled' = 'failed') => ({
  ok: false as const,
  error: { code, message },
});

async function launch(start = true) {
  const db = await openTestDb();
  await addMember(db, 'm1');
  await addInstance(db, 'c1', { config: { 'user.a': '1', 'volatile.old': 'x' } });
  await addOperation(db, 'op1');
  await addCommand(
    db,
    { id: 'k1', name: 'instance.create', params: createParams('c1', start) },
    { operationId: 'op1' },
  );
  const created = ok({
    report: report('c1', 'Running'),
    volatile: { 'volatile.eth0.hwaddr': 'aa', 'volatile.old': '' },
  });
  return { db, created };
}

describe('a result', () => {
  it('moves instance, command and operation together, and tells of it', async () => {
    const { db, created } = await launch();
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(applied.known).toBe(true);
    expect(actionsOf(applied.events)).toEqual(['instance-created', 'instance-started']);
    expect(applied.events.at(-1)).toMatchObject({
      type: 'operation',
      project: 'default',
      metadata: { id: 'op1', status: 'Success', status_code: 200, err: '' },
    });
    expect(await db.select().from(instances).get()).toMatchObject({
      status: 'Running',
      stateAt: T1,
      lastUsedAt: T1,
      config: { 'user.a': '1', 'volatile.eth0.hwaddr': 'aa', 'volatile.last_state.power': 'RUNNING' },
    });
    expect(await db.select().from(events)).toHaveLength(2);
    expect(await listWaitingCommands(db, 'm1')).toEqual([]);
  });

  it('of a creation that its deletion has overtaken has the member take back what it made', async () => {
    const { db, created } = await launch();
    await db.delete(instances);
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(applied.deliveries).toMatchObject([
      { member: 'm1', orders: [{ name: 'instance.delete', params: { ref: { name: 'c1' }, id: 'id-c1' } }] },
    ]);
    expect(actionsOf(applied.events)).toEqual([]);
  });

  it('changes nothing and tells nothing the second time', async () => {
    const { db, created } = await launch();
    await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    await db.update(instances).set({ status: 'Stopped' });
    const again = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(again).toEqual({ known: true, events: [], deliveries: [] });
    expect((await db.select().from(instances).get())?.status).toBe('Stopped');
    expect(await db.select().from(events)).toHaveLength(2);
  });

  it('is applied once when it arrives twice at the same time', async () => {
    const { db, created } = await launch();
    const result = { member: 'm1', id: 'k1', outcome: created, now: T1 };
    const both = await Promise.all([applyResult(db, result), applyResult(db, result)]);
    expect(both.map(({ events: told }) => told.length).sort()).toEqual([0, 3]);
    expect(await db.select().from(events)).toHaveLength(2);
  });

  it('is applied by the order that was delivered as by the row, and once', async () => {
    const { db, created } = await launch();
    const [order] = await listWaitingCommands(db, 'm1');
    expect(order && isEnough(order)).toBe(true);
    const result = { member: 'm1', id: 'k1', outcome: created, now: T1, ...(order ? { order } : {}) };
    const applied = await applyResult(db, result);
    expect(actionsOf(applied.events)).toEqual(['instance-created', 'instance-started']);
    expect(applied.events.at(-1)).toMatchObject({ metadata: { id: 'op1', status_code: 200 } });
    expect(await applyResult(db, result)).toEqual({ known: true, events: [], deliveries: [] });
    expect((await db.select().from(instances).get())?.status).toBe('Running');
  });

  it('of another member, or for an unknown id, is not known', async () => {
    const { db, created } = await launch();
    expect((await applyResult(db, { member: 'm2', id: 'k1', outcome: created, now: T1 })).known).toBe(false);
    expect((await applyResult(db, { member: 'm1', id: 'k9', outcome: created, now: T1 })).known).toBe(false);
    expect(await listWaitingCommands(db, 'm1')).toHaveLength(1);
  });

  it('that failed leaves no instance, and the operation has its text', async () => {
    const { db } = await launch();
    const outcome = failed('pool "local" is full');
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome, now: T1 });
    expect(await db.select().from(instances)).toEqual([]);
    expect(applied.events).toMatchObject([{ metadata: { status_code: 400, err: 'pool "local" is full' } }]);
  });

  it('that cannot be read counts as a failure', async () => {
    const { db } = await launch();
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: ok({ nonsense: 1 }), now: T1 });
    expect(applied.events).toMatchObject([{ metadata: { status_code: 400 } }]);
    expect(await db.select().from(instances)).toEqual([]);
  });

  it('with the code cancelled makes the operation Cancelled', async () => {
    const { db } = await launch();
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: failed('x', 'cancelled'), now: T1 });
    expect(applied.events).toMatchObject([{ metadata: { status_code: 401, err: '' } }]);
  });

  it('keeps the operation running while another of its commands waits, and fails it when any failed', async () => {
    const { db, created } = await launch();
    await addCommand(
      db,
      { id: 'k2', name: 'image.delete', params: { fingerprint: 'f' } },
      { operationId: 'op1', member: 'm2' },
    );
    const first = await applyResult(db, { member: 'm2', id: 'k2', outcome: failed('disk error'), now: T1 });
    expect(first.events).toMatchObject([{ metadata: { status_code: 103, err: '' } }]);
    const second = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(second.events.at(-1)).toMatchObject({ metadata: { status_code: 400, err: 'disk error' } });
  });

  it('does not move an operation that is final', async () => {
    const { db, created } = await launch();
    await db.update(operations).set({ status: 401 });
    await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect((await db.select().from(operations).get())?.status).toBe(401);
  });
});

describe('a refused change', () => {
  it('is taken back key by key, and what was changed meanwhile stays', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    const before = {
      config: { 'user.a': '1', 'user.gone': 'x' },
      devices: { root: { type: 'disk', path: '/', pool: 'p' }, old: { type: 'nic', name: 'eth1' } },
    };
    const wanted = {
      config: { 'user.a': '2', 'user.new': 'y' },
      devices: { root: { type: 'disk', path: '/', pool: 'p', size: '1GiB' }, data: { type: 'disk', source: '/nope' } },
    };
    const meanwhile = { ...wanted.config, 'volatile.eth0.hwaddr': 'aa', 'user.later': 'z' };
    await addInstance(db, 'c1', {
      ...wanted,
      config: meanwhile,
      profiles: ['other'],
      description: 'same',
      memoryBytes: 7,
    });
    await addOperation(db, 'op1');
    const undo = {
      config: configPatch(wanted.config, before.config),
      devices: devicesPatch(wanted.devices, before.devices),
      profiles: ['default'],
      memoryBytes: 3,
    };
    const params = { spec: specOf('c1'), networks: [], undo };
    await addCommand(db, { id: 'k1', name: 'instance.update', params }, { operationId: 'op1' });
    await applyResult(db, { member: 'm1', id: 'k1', outcome: failed('Missing source path'), now: T1 });
    expect(await db.select().from(instances).get()).toMatchObject({
      config: { ...before.config, 'volatile.eth0.hwaddr': 'aa', 'user.later': 'z' },
      devices: before.devices,
      profiles: ['default'],
      description: 'same',
      memoryBytes: 3,
    });
  });
});

describe('instance results', () => {
  const cases = [
    ['start', false, 'Running', 'instance-started', 'RUNNING'],
    ['stop', false, 'Stopped', 'instance-shutdown', 'STOPPED'],
    ['stop', true, 'Stopped', 'instance-stopped', 'STOPPED'],
    ['restart', false, 'Running', 'instance-restarted', 'RUNNING'],
    ['freeze', false, 'Frozen', 'instance-paused', 'RUNNING'],
    ['unfreeze', false, 'Running', 'instance-resumed', 'RUNNING'],
  ] as const;
  it.each(cases)(
    '%s (force %s) leaves it %s with event %s and power %s',
    async (action, force, status, event, power) => {
      const { db } = await launch();
      const params = { spec: specOf('c1'), action, timeoutSeconds: -1, force };
      await addCommand(db, { id: 'k2', name: 'instance.state', params }, { operationId: 'op1' });
      const outcome = ok({ report: report('c1', status), volatile: {} });
      const applied = await applyResult(db, { member: 'm1', id: 'k2', outcome, now: T1 });
      expect(actionsOf(applied.events)).toEqual([event]);
      const row = await db.select().from(instances).get();
      expect(row?.status).toBe(status);
      expect(row?.config['volatile.last_state.power']).toBe(power);
    },
  );

  it('a stopped ephemeral instance is deleted by an operation of its own', async () => {
    const db = await openTestDb();
    await addMember(db, 'm1');
    await addPool(db, 'local', { m1: 'Created' });
    await addInstance(db, 'c1', { ephemeral: true, status: 'Running' });
    const params = { spec: specOf('c1'), action: 'stop' as const, timeoutSeconds: -1, force: true };
    await addCommand(db, { id: 'k1', name: 'instance.state', params });
    const stopped = ok({ report: report('c1', 'Stopped'), volatile: {} });
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: stopped, now: T1 });
    const ref = { project: 'default', name: 'c1' };
    expect(applied.deliveries).toMatchObject([
      { member: 'm1', orders: [{ name: 'instance.delete', params: { ref, pool: poolSpec() } }] },
    ]);
    const [id = ''] = applied.deliveries.flatMap(({ orders }) => orders.map((order) => order.id));
    const gone = await applyResult(db, { member: 'm1', id, outcome: ok({}), now: T1 });
    expect(actionsOf(gone.events)).toEqual(['instance-deleted']);
    expect(gone.events.at(-1)).toMatchObject({ metadata: { description: 'Deleting instance', status_code: 200 } });
    expect(await db.select().from(instances)).toEqual([]);
  });

  it('a renamed instance has its new name', async () => {
    const { db } = await launch();
    await addCommand(db, { id: 'k2', name: 'instance.rename', params: { spec: specOf('c1'), newName: 'c2' } });
    const outcome = ok({ report: report('c2', 'Stopped'), volatile: {} });
    const applied = await applyResult(db, { member: 'm1', id: 'k2', outcome, now: T1 });
    expect(applied.events).toMatchObject([
      { metadata: { action: 'instance-renamed', source: '/1.0/instances/c2', context: { old_name: 'c1' } } },
    ]);
    expect((await db.select().from(instances).get())?.name).toBe('c2');
  });

  it('a rename whose name was taken meanwhile fails and is undone on the host', async () => {
    const { db } = await launch();
    await addInstance(db, 'c2', { member: 'm2' });
    await addCommand(
      db,
      { id: 'k2', name: 'instance.rename', params: { spec: specOf('c1'), newName: 'c2' } },
      { operationId: 'op1' },
    );
    const outcome = ok({ report: report('c2', 'Stopped'), volatile: {} });
    const applied = await applyResult(db, { member: 'm1', id: 'k2', outcome, now: T1 });
    expect(applied.deliveries).toMatchObject([
      { orders: [{ name: 'instance.rename', params: { spec: { name: 'c2' }, newName: 'c1' } }] },
    ]);
    expect((await db.select().from(commands).where(eq(commands.id, 'k2')).get())?.status).toBe('failed');
  });

  it('a late delete does not remove a newer instance of the same name', async () => {
    const { db } = await launch();
    await db.update(instances).set({ createdAt: T1 });
    const ref = { project: 'default', name: 'c1' };
    await addCommand(db, { id: 'k2', name: 'instance.delete', params: { ref, pool: null } }, { createdAt: T0 });
    const applied = await applyResult(db, { member: 'm1', id: 'k2', outcome: ok({}), now: T1 });
    expect(applied.events).toEqual([]);
    expect(await db.select().from(instances)).toHaveLength(1);
  });

  it.each([
    [{ exitCode: 3, error: null }, 200, '', ['instance-exec']],
    [{ exitCode: 127, error: 'Command not found' }, 400, 'Command not found', []],
  ] as const)('exec answering %o ends with %i and keeps the metadata it had', async (result, status, err, told) => {
    const db = await openTestDb();
    await addOperation(db, 'op1', { class: 'websocket', metadata: { fds: { 0: 'secret' } } });
    const ref = { project: 'default', name: 'c1' };
    await addCommand(
      db,
      {
        id: 'k1',
        name: 'instance.exec',
        params: {
          ref,
          streamId: 's',
          command: ['ls'],
          environment: {},
          interactive: false,
          width: 0,
          height: 0,
          user: 0,
          group: 0,
          cwd: '',
          attach: true,
        },
      },
      { operationId: 'op1' },
    );
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: ok(result), now: T1 });
    expect(actionsOf(applied.events)).toEqual(told);
    expect(applied.events.at(-1)).toMatchObject({
      metadata: { status_code: status, err, metadata: { fds: { 0: 'secret' }, return: result.exitCode } },
    });
  });
});

describe('cancelling a command that waits', () => {
  it('removes the instance, ends the operation, and tells the member to delete what it may have made', async () => {
    const { db, created } = await launch();
    const followup = await cancelWaiting(db, 'k1', T1);
    expect(followup.events).toMatchObject([{ metadata: { status_code: 401 } }]);
    expect(followup.deliveries).toMatchObject([{ member: 'm1', orders: [{ name: 'instance.delete' }] }]);
    expect(await db.select().from(instances)).toEqual([]);
    const late = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(late).toEqual({ known: true, events: [], deliveries: [] });
  });
});

describe('image results', () => {
  const inspect = { id: 'k1', name: 'image.inspect' as const, params: { image: { fingerprint: 'f1', parts: [] } } };
  async function upload() {
    const db = await openTestDb();
    await addOperation(db, 'op1');
    await db.insert(images).values({
      project: 'default',
      fingerprint: 'f1',
      status: 'pending',
      type: 'container',
      architecture: '',
      filename: 'a.tar',
      sizeBytes: 1,
      properties: { os: 'mine' },
      profiles: ['default'],
      parts: [{ name: 'unified', key: 'blob-1', sizeBytes: 1, filename: 'a.tar' }],
      createdAt: T0,
      uploadedAt: T0,
    });
    await addCommand(db, inspect, { operationId: 'op1' });
    return db;
  }

  it('an inspected image is ready, with the properties of the upload on top', async () => {
    const db = await upload();
    const result = { architecture: 'x86_64', createdAt: T1, expiresAt: null, properties: { os: 'x', release: '1' } };
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: ok(result), now: T1 });
    expect(actionsOf(applied.events)).toEqual(['image-created']);
    expect(applied.blobs).toBeUndefined();
    expect(await db.select().from(images).get()).toMatchObject({
      status: 'ready',
      architecture: 'x86_64',
      properties: { os: 'mine', release: '1' },
    });
  });

  it('an unreadable image goes, and so do its blobs', async () => {
    const db = await upload();
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: failed('no metadata.yaml'), now: T1 });
    expect(applied.blobs).toEqual(['blob-1']);
    expect(await db.select().from(images)).toEqual([]);
  });
});

describe('pool results', () => {
  async function define(parts: Record<string, 'Pending' | 'Created' | 'Errored'>, online: Record<string, boolean>) {
    const db = await openTestDb();
    for (const [name, there] of Object.entries(online)) await addMember(db, name, { online: there });
    await addPool(db, 'local', parts);
    await addOperation(db, 'op1');
    await addCommand(db, { id: 'k1', name: 'pool.create', params: { pool: poolSpec() } }, { operationId: 'op1' });
    return db;
  }
  const created = ok({ config: { source: '/srv' } });
  const poolStatus = async (db: Awaited<ReturnType<typeof define>>) =>
    (await db.select().from(storagePools).get())?.status;

  it('the pool is Created with its last member, absent ones not counted', async () => {
    const db = await define({ m1: 'Pending', m2: 'Created', m3: 'Pending' }, { m1: true, m2: true, m3: false });
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(actionsOf(applied.events)).toEqual(['storage-pool-created']);
    expect(await poolStatus(db)).toBe('Created');
    const own = eq(storagePoolMembers.member, 'm1');
    expect((await db.select().from(storagePoolMembers).where(own).get())?.config).toEqual({ source: '/srv' });
  });

  it('the pool stays Pending while a connected member has yet to answer', async () => {
    const db = await define({ m1: 'Pending', m2: 'Pending' }, { m1: true, m2: true });
    const applied = await applyResult(db, { member: 'm1', id: 'k1', outcome: created, now: T1 });
    expect(actionsOf(applied.events)).toEqual([]);
    expect(await poolStatus(db)).toBe('Pending');
  });

  it('the pool is Errored when a member failed, which says why', async () => {
    const db = await define({ m1: 'Pending', m2: 'Created' }, { m1: true, m2: true });
    await applyResult(db, { member: 'm1', id: 'k1', outcome: failed('no such device'), now: T1 });
    expect(await poolStatus(db)).toBe('Errored');
    const own = eq(storagePoolMembers.member, 'm1');
    expect((await db.select().from(storagePoolMembers).where(own).get())?.message).toBe('no such device');
  });

  it('a pool that exists is not broken by a member that catches up in vain', async () => {
    const db = await define({ m1: 'Pending', m2: 'Created' }, { m1: true, m2: true });
    await db.update(storagePools).set({ status: 'Created' });
    await applyResult(db, { member: 'm1', id: 'k1', outcome: failed('no such device'), now: T1 });
    expect(await poolStatus(db)).toBe('Created');
  });

  it('the rows go with the last connected member that deleted it, with one event', async () => {
    const db = await define({ m1: 'Created', m2: 'Created', m3: 'Created' }, { m1: true, m2: true, m3: false });
    await db.update(storagePools).set({ status: 'Created' });
    await addCommand(db, { id: 'd1', name: 'pool.delete', params: { pool: poolSpec() } }, { operationId: 'op1' });
    await addCommand(
      db,
      { id: 'd2', name: 'pool.delete', params: { pool: poolSpec() } },
      { operationId: 'op1', member: 'm2' },
    );
    await db.delete(commands).where(eq(commands.id, 'k1'));
    const first = await applyResult(db, { member: 'm1', id: 'd1', outcome: ok({}), now: T1 });
    expect(actionsOf(first.events)).toEqual([]);
    expect(await db.select().from(storagePools)).toHaveLength(1);
    const last = await applyResult(db, { member: 'm2', id: 'd2', outcome: ok({}), now: T1 });
    expect(actionsOf(last.events)).toEqual(['storage-pool-deleted']);
    expect(await db.select().from(storagePools)).toEqual([]);
    expect(await db.select().from(storagePoolMembers)).toEqual([]);
  });

  it('a member that deletes late leaves the pool that was made anew', async () => {
    const db = await define({ m1: 'Pending' }, { m1: true });
    await db.update(storagePools).set({ status: 'Created' });
    await db.delete(commands);
    await addCommand(db, { id: 'd1', name: 'pool.delete', params: { pool: poolSpec() } });
    await addCommand(db, { id: 'k2', name: 'pool.create', params: { pool: poolSpec() } });
    const applied = await applyResult(db, { member: 'm1', id: 'd1', outcome: ok({}), now: T1 });
    expect(actionsOf(applied.events)).toEqual([]);
    expect(await db.select().from(storagePoolMembers)).toHaveLength(1);
  });
});
