import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { helloPayload } from '#protocol/frames.ts';
import { PROTOCOL_VERSION } from '#protocol/version.ts';
import type { Hello } from '#worker/objects/handshake.ts';
import { admit } from '#worker/objects/link-admission.ts';
import type { Db } from '#worker/state/db.ts';
import { removeMember } from '#worker/state/member-remove.ts';
import { renameMember } from '#worker/state/member-rename.ts';
import { admitRecovering, listRecoveries, openRecovery } from '#worker/state/recovery.ts';
import { formerMembers, warnings } from '#worker/state/schema.ts';
import { addMember, openTestDb, RESOURCES, T0, T1 } from '../state/helpers.ts';

const nonce = 'a nonce of the server';
const load = { memoryTotalBytes: 1, memoryAvailableBytes: 1, cpuCount: 2, cpuLoad: 0 };
const event = { action: 'x', source: '/1.0', project: null, location: 'none' };

interface Keys {
  privateKey: KeyObject;
  publicKey: string;
}
function newKeys(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64') };
}

function hello(member: string, keys: Keys): Hello {
  const base = { member, epoch: 5, processId: 'p5' };
  const signature = sign(null, helloPayload({ ...base, nonce }), keys.privateKey).toString('base64');
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    version: '0.1.0',
    ...base,
    signature,
    resources: RESOURCES,
    load,
  };
}
const come = (db: Db, member: string, keys: Keys) => admit(db, hello(member, keys), { member, nonce });

async function openCluster() {
  const db = await openTestDb();
  const keys = newKeys();
  await addMember(db, 'm1', { publicKey: keys.publicKey });
  return { db, keys };
}
const rename = (db: Db, { publicKey }: Keys, from: string, to: string) =>
  renameMember(db, { from, to, publicKey, event, now: T0 });
const remove = (db: Db, member: string, force: boolean) => removeMember(db, { member, force, event, now: T0 });

describe('admit', () => {
  it('lets a member in', async () => {
    const { db, keys } = await openCluster();
    expect(await come(db, 'm1', keys)).toMatchObject({ ok: true, publicKey: keys.publicKey, wasRenamed: false });
  });

  it('tells a renamed member its present name, under whichever it comes', async () => {
    const { db, keys } = await openCluster();
    await rename(db, keys, 'm1', 'm2');
    await rename(db, keys, 'm2', 'm3');
    for (const name of ['m1', 'm2']) {
      expect(await come(db, name, keys)).toMatchObject({ ok: false, refusal: { renamed: 'm3', retry: true } });
    }
    expect(await come(db, 'm3', keys)).toMatchObject({ ok: true, wasRenamed: true });
  });

  it('tells it also when another host has its old name', async () => {
    const { db, keys } = await openCluster();
    await rename(db, keys, 'm1', 'm2');
    const others = newKeys();
    await addMember(db, 'm1', { publicKey: others.publicKey });
    expect(await come(db, 'm1', keys)).toMatchObject({ ok: false, refusal: { renamed: 'm2' } });
    expect(await come(db, 'm1', others)).toMatchObject({ ok: true, wasRenamed: false });
  });

  it.each([
    [true, false],
    [false, true],
  ])('tells a removed member why (force %s), and records a warning', async (force, cleanUp) => {
    const { db, keys } = await openCluster();
    await remove(db, 'm1', force);
    const admission = await come(db, 'm1', keys);
    expect(admission).toMatchObject({ ok: false, refusal: { retry: false, removed: { cleanUp } } });
    expect(admission.ok ? '' : admission.refusal.error.message).toMatch(/removed from this cluster .* new token/);
    expect(await db.select().from(warnings)).toMatchObject([
      { type: 'Removed cluster member returned', location: 'm1', status: 'new' },
    ]);
    expect((await db.select().from(formerMembers))[0]?.learnedAt).not.toBeNull();
  });

  it('tells a member that was removed under a name it never learned', async () => {
    const { db, keys } = await openCluster();
    await rename(db, keys, 'm1', 'm2');
    await remove(db, 'm2', true);
    expect(await come(db, 'm1', keys)).toMatchObject({ refusal: { removed: { cleanUp: false } } });
  });

  it('tells strangers nothing: who does not hold the key is only refused', async () => {
    const { db, keys } = await openCluster();
    await remove(db, 'm1', false);
    const answer = await come(db, 'm1', newKeys());
    expect(answer).toMatchObject({ ok: false, refusal: { retry: false } });
    expect(answer.ok ? {} : answer.refusal).not.toHaveProperty('removed');
    const stolen = { ...hello('m1', keys), epoch: 9 };
    expect(await admit(db, stolen, { member: 'm1', nonce })).not.toHaveProperty('refusal.removed');
    expect(await db.select().from(warnings)).toEqual([]);
  });

  it('lets a removed key in again when it has joined anew', async () => {
    const { db, keys } = await openCluster();
    await remove(db, 'm1', true);
    await addMember(db, 'm1', { publicKey: keys.publicKey, createdAt: T1 });
    expect(await come(db, 'm1', keys)).toMatchObject({ ok: true });
  });
});

describe('a host that nobody knows', () => {
  const comer = (name: string, keys: Keys): Hello => ({ ...hello(name, keys), publicKey: keys.publicKey });
  const ask = (db: Db, said: Hello) => admit(db, said, { member: said.member, nonce });
  const soon = '2999-01-01T00:00:00.000Z';

  it('comes again soon while there is no member at all, and seldom to a cluster', async () => {
    const empty = await openTestDb();
    expect(await ask(empty, comer('m1', newKeys()))).toMatchObject({ ok: false, refusal: { retry: true } });
    expect(await listRecoveries(empty)).toEqual([]);
    const { db } = await openCluster();
    expect(await ask(db, comer('m2', newKeys()))).toMatchObject({ ok: false, refusal: { retry: false } });
  });

  it('is noted while the cluster is being recovered, when it holds the key that it shows', async () => {
    const db = await openTestDb();
    await openRecovery(db, soon);
    const keys = newKeys();
    expect(await ask(db, comer('m1', keys))).toMatchObject({ ok: false, refusal: { retry: true, retryMs: 2_000 } });
    await ask(db, comer('m1', keys));
    await ask(db, { ...comer('m2', newKeys()), publicKey: keys.publicKey });
    await ask(db, hello('m3', newKeys()));
    expect(await listRecoveries(db)).toMatchObject([{ name: 'm1', publicKey: keys.publicKey, state: 'found' }]);
  });

  it('is not noted under the name or the key of a member, nor after its time', async () => {
    const { db, keys } = await openCluster();
    await openRecovery(db, soon);
    await ask(db, comer('m1', newKeys()));
    await ask(db, comer('m9', keys));
    await openRecovery(db, T0);
    await ask(db, comer('m2', newKeys()));
    expect(await listRecoveries(db)).toEqual([]);
  });

  it('is a member by its key once it was admitted', async () => {
    const db = await openTestDb();
    await openRecovery(db, soon);
    const [keys, other] = [newKeys(), newKeys()];
    await ask(db, comer('m1', keys));
    await ask(db, comer('m1', other));
    const [row] = (await listRecoveries(db)).filter(({ publicKey }) => publicKey === keys.publicKey);
    await admitRecovering(db, row === undefined ? [] : [row], T1);
    expect(await ask(db, comer('m1', keys))).toMatchObject({ ok: true, publicKey: keys.publicKey });
    expect(await ask(db, comer('m1', other))).toMatchObject({ ok: false });
  });
});
