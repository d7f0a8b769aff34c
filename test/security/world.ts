/** What the attacked cluster has: one of everything, each with a secret in it, so that a leak of any is seen. */
import type { Db } from '#worker/state/db.ts';
import * as schema from '#worker/state/schema.ts';
import { addInstance, addMember, addOperation, addPool, T0 } from '../worker-unit/state/helpers.ts';

/** Stands in what a stranger, or somebody confined to the project `blog`, must never see. */
export const SECRET = 'zz-eyes-only-zz';
export const NAME = 'guarded';
export const FINGERPRINT = 'ab'.repeat(32);
export const OPERATION = '4af03db9-f0b4-40a1-9c1b-30452c890901';
const TRIGGER = 'trg_0123456789abcdef';

/** A project of its own in every respect. */
const FEATURES = {
  ...{ 'features.images': 'true', 'features.profiles': 'true', 'features.storage.volumes': 'true' },
};

const TEMPLATE = {
  ...{ name: 'x', description: '', alias: 'guarded', fingerprint: '', profiles: null, config: {}, devices: {} },
  ...{ ephemeral: false, target: '' },
};

export async function fill(db: Db): Promise<void> {
  const secret = { 'user.secret': SECRET };
  await addMember(db, 'm1', { online: false });
  await addMember(db, 'm2', { online: false });
  await addPool(db, 'local', { m1: 'Created', m2: 'Created' });
  await db.insert(schema.projects).values({ name: 'blog', config: FEATURES });
  await db.insert(schema.networks).values({ name: 'lxdbr0', type: 'bridge', config: {}, status: 'Created' });
  await db.insert(schema.networkMembers).values([
    { network: 'lxdbr0', member: 'm1', config: {}, status: 'Created' },
    { network: 'lxdbr0', member: 'm2', config: {}, status: 'Created' },
  ]);
  await db.insert(schema.clusterGroups).values({ name: NAME });
  await addInstance(db, NAME, { config: secret, description: SECRET });
  await addInstance(db, 'other', { member: 'm2', config: secret });
  await db
    .insert(schema.profiles)
    .values({ project: 'default', name: NAME, description: SECRET, config: secret, devices: {} });
  await addOperation(db, OPERATION, { status: 200, metadata: secret });
  await db.insert(schema.images).values({
    ...{ project: 'default', fingerprint: FINGERPRINT, status: 'ready', type: 'container', architecture: 'x86_64' },
    ...{ filename: 'x.tar', sizeBytes: 1, properties: { description: SECRET }, profiles: [], parts: [] },
    ...{ createdAt: T0, uploadedAt: T0 },
  });
  const volume = { pool: 'local', project: 'default', name: NAME, member: 'm1', description: SECRET };
  await db.insert(schema.storageVolumes).values({ ...volume, config: {}, status: 'Created', createdAt: T0 });
  await db
    .insert(schema.imageAliases)
    .values({ project: 'default', name: NAME, description: SECRET, fingerprint: FINGERPRINT });
  const warning = { id: NAME, dedupeKey: 'w', type: 'x', severity: 'low', status: 'new', lastMessage: SECRET } as const;
  await db.insert(schema.warnings).values({ ...warning, firstSeenAt: T0, lastSeenAt: T0 });
  await db.insert(schema.triggers).values({
    ...{ id: TRIGGER, project: 'default', name: NAME, description: SECRET, scheme: 'standard', secret: 'sealed' },
    ...{ windowSeconds: 300, parameters: {}, rules: { launch: [], delete: [] }, createdAt: T0 },
    ...{ limits: { concurrency: null, perHour: null, ttlSeconds: null }, template: TEMPLATE },
  });
  const webhook = { id: NAME, project: 'default', name: NAME, description: SECRET, url: 'https://203.0.113.1/' };
  await db
    .insert(schema.webhooks)
    .values({ ...webhook, enabled: false, actions: [], secret: 'sealed', cursor: 0, createdAt: T0 });
}

/** The existing thing that a path's parameter names; a new kind of thing is looked for by the common name. */
export function existing(path: string): string {
  const ofName: [RegExp, string][] = [
    [/^\/1\.0\/networks\//, 'lxdbr0'],
    [/^\/1\.0\/cluster\/members\//, 'm1'],
    [/^\/1\.0\/projects\//, 'default'],
  ];
  const name = ofName.find(([pattern]) => pattern.test(path))?.[1] ?? NAME;
  const values: Record<string, string> = {
    ...{ name, pool: 'local', type: 'custom', fingerprint: FINGERPRINT, file: 'lxc.log', uuid: NAME },
    id: path.startsWith('/hooks/') ? 'no-such-trigger' : OPERATION,
  };
  return path.replace(/\{(\w+)\}/g, (_, parameter: string) => values[parameter] ?? NAME);
}
