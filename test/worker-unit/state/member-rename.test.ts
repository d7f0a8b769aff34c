import { getTableColumns, sql } from 'drizzle-orm';
import { describe, expect, it } from 'vitest';
import type { Db } from '#worker/state/db.ts';
import { readFormerNames } from '#worker/state/former-members.ts';
import { removeMember } from '#worker/state/member-remove.ts';
import { renameMember } from '#worker/state/member-rename.ts';
import { MEMBER_TABLES } from '#worker/state/member-tables.ts';
import { listMembers, recordHello, setOffline } from '#worker/state/members.ts';
import { formerMembers, instances, members, operations, serverConfig, warnings } from '#worker/state/schema.ts';
import {
  actionsOf,
  addCommand,
  addInstance,
  addMember,
  addOperation,
  addPool,
  createParams,
  openTestDb,
  RESOURCES,
  T0,
  T1,
} from './helpers.ts';

const event = { action: 'cluster-member-renamed', source: '/1.0/cluster/members/m9', project: null, location: 'none' };
const rename = (db: Db, from: string, to: string, publicKey = `key-of-${from}`) =>
  renameMember(db, { from, to, publicKey, event, now: T1 });
const remove = (db: Db, member: string, force: boolean) => removeMember(db, { member, force, event, now: T1 });
const hello = (db: Db, member: string, wasRenamed = true) =>
  recordHello(db, {
    member,
    epoch: 2,
    processId: 'p',
    version: '1',
    protocol: 1,
    resources: RESOURCES,
    wasRenamed,
    now: T1,
  });

/** Who is named in which table. */
async function named(db: Db, member: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name, table } of MEMBER_TABLES) {
    const rows = await db.all(sql`select 1 from ${table} where member = ${member}`);
    if (rows.length > 0) found.push(name);
  }
  return found.sort();
}

async function openCluster(): Promise<Db> {
  const db = await openTestDb();
  await addMember(db, 'm1');
  await addMember(db, 'm2');
  await addInstance(db, 'c1', { member: 'm2', config: { 'volatile.evacuate.origin': 'm2', 'user.a': 'm2' } });
  await addInstance(db, 'c2', { member: 'm1', config: { 'volatile.evacuate.origin': 'm1' } });
  await addPool(db, 'local', { m1: 'Created', m2: 'Created' });
  await addCommand(db, { id: 'x', name: 'instance.create', params: createParams('c1') }, { member: 'm2' });
  await addOperation(db, 'op', { location: 'm2' });
  await db.insert(serverConfig).values({ key: 'm2/core.https_address', value: ':1' });
  await setOffline(db, { member: 'm2', reason: 'gone', now: T0 });
  return db;
}

describe('a new name', () => {
  it('is everywhere that the old one was, and the old one is free', async () => {
    const db = await openCluster();
    expect(actionsOf((await rename(db, 'm2', 'm9')).events)).toEqual(['cluster-member-renamed']);
    expect((await listMembers(db)).map(({ name }) => name)).toEqual(['m1', 'm9']);
    expect(await named(db, 'm2')).toEqual([]);
    expect(await named(db, 'm9')).toEqual(['commands', 'instances', 'storage_pool_members']);
    const [c1, c2] = await db.select().from(instances).orderBy(instances.name);
    expect(c1?.config).toEqual({ 'volatile.evacuate.origin': 'm9', 'user.a': 'm2' });
    expect(c2?.config).toEqual({ 'volatile.evacuate.origin': 'm1' });
    expect((await db.select().from(operations))[0]?.location).toBe('m9');
    expect((await db.select().from(serverConfig)).map(({ key }) => key)).toContain('m9/core.https_address');
    await addMember(db, 'm2', { publicKey: 'another' });
  });

  it('goes on counting the warnings of the old one', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm9');
    const [warning] = await db.select().from(warnings);
    expect(warning).toMatchObject({ location: 'm9', entityUrl: '/1.0/cluster/members/m9', status: 'new' });
    await hello(db, 'm9');
    await setOffline(db, { member: 'm9', reason: 'again', now: T1 });
    expect(await db.select().from(warnings)).toMatchObject([{ location: 'm9', count: 2 }]);
  });

  it('that is taken changes nothing', async () => {
    const db = await openCluster();
    await expect(rename(db, 'm2', 'm1')).rejects.toMatchObject({ code: 'conflict' });
    expect(await named(db, 'm2')).toContain('instances');
    expect(await db.select().from(formerMembers)).toEqual([]);
  });

  it('for a member that was renamed or replaced meanwhile changes nothing', async () => {
    const db = await openCluster();
    expect((await rename(db, 'm2', 'm9', 'an older key')).events).toEqual([]);
    expect((await listMembers(db)).map(({ name }) => name)).toEqual(['m1', 'm2']);
    expect(await db.select().from(formerMembers)).toEqual([]);
  });

  it('is found by every name that its agent may still use', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm8');
    await rename(db, 'm8', 'm9', 'key-of-m2');
    for (const name of ['m2', 'm8']) {
      expect(await readFormerNames(db, name)).toMatchObject([{ name, publicKey: 'key-of-m2', kind: 'renamed' }]);
    }
  });

  it('and back leaves only the other one behind', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm9');
    await rename(db, 'm9', 'm2', 'key-of-m2');
    expect((await db.select().from(formerMembers)).map(({ name }) => name)).toEqual(['m9']);
  });

  it('gets what a request wrote for the old name meanwhile, when its agent comes', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm9');
    await addInstance(db, 'late', { member: 'm2' });
    await addCommand(db, { id: 'y', name: 'instance.create', params: createParams('late') }, { member: 'm2' });
    await hello(db, 'm9');
    expect(await named(db, 'm2')).toEqual([]);
    expect((await db.select().from(formerMembers))[0]?.learnedAt).toBe(T1);
  });

  it('does not take what belongs to whoever has the old name now', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm9');
    await addMember(db, 'm2', { publicKey: 'another' });
    await addInstance(db, 'theirs', { member: 'm2' });
    await hello(db, 'm9');
    expect(await named(db, 'm2')).toEqual(['instances']);
  });
});

describe('a removal', () => {
  it('without force keeps a member with an instance', async () => {
    const db = await openCluster();
    expect((await remove(db, 'm2', false)).events).toEqual([]);
    expect(await named(db, 'm2')).toEqual(['commands', 'instances', 'storage_pool_members']);
    expect(await db.select().from(formerMembers)).toEqual([]);
  });

  it('with force leaves nothing that names it but its history', async () => {
    const db = await openCluster();
    await remove(db, 'm2', true);
    expect(await named(db, 'm2')).toEqual(['commands']);
    expect(await db.all(sql`select 1 from commands where status = 'waiting'`)).toEqual([]);
    expect((await db.select().from(serverConfig)).filter(({ key }) => key.startsWith('m2/'))).toEqual([]);
    expect((await db.select().from(warnings)).map(({ status }) => status)).toEqual(['resolved']);
  });

  it('is told under every name that the agent may come with', async () => {
    const db = await openCluster();
    await rename(db, 'm2', 'm9');
    await remove(db, 'm9', true);
    for (const name of ['m2', 'm9']) {
      expect(await readFormerNames(db, name)).toMatchObject([{ name, kind: 'removed', cleanUp: false }]);
    }
  });
});

it('finds every table that says where something is', () => {
  const names = MEMBER_TABLES.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(['instances', 'commands', 'storage_pool_members', 'network_members', 'storage_volumes']),
  );
  expect(Object.values(getTableColumns(members)).some(({ name }) => name === 'member')).toBe(false);
});
