/**
 * The cluster put together again from its hosts, when its database is lost (`docs/operations.md`). The operator lets hosts
 * ask, admits those that it knows, and takes in what they have. Nothing on a host is changed by it, and it may be repeated.
 */
import type { HostInventory, RecoveredHost, RecoveryAnswer, RecoveryStatus, RecoveryStep } from '#protocol/backup.ts';
import { badRequest, conflict } from '#protocol/errors.ts';
import { planRecovery } from '#worker/domain/recovery.ts';
import { sha256Hex } from '#worker/lib/crypto.ts';
import { listMembers } from '#worker/state/members.ts';
import {
  admitRecovering,
  applyRecovery,
  closeRecovery,
  inventoryOf,
  keepInventory,
  listRecoveries,
  openRecovery,
  type RecoveryRow,
  readKnown,
} from '#worker/state/recovery.ts';
import type { Context } from './context.ts';

/** A host may have hundreds of instances to look at, on a slow line. */
const INVENTORY_LIMIT_MS = 60_000;

const NOTHING: RecoveryAnswer = { taken: {}, notes: [], awaited: [] };

/** Names a key to people: long enough that no other has it. */
const keyName = async (publicKey: string): Promise<string> => (await sha256Hex(publicKey)).slice(0, 32);

export async function readRecovery(ctx: Context): Promise<RecoveryStatus> {
  const [rows, members] = await Promise.all([listRecoveries(ctx.db), listMembers(ctx.db)]);
  const hosts = rows.map(
    async ({ name, publicKey, state, resources }): Promise<RecoveredHost> => ({
      name,
      key: await keyName(publicKey),
      addresses: resources.addresses,
      os: `${resources.osName} ${resources.osVersion}`,
      state,
    }),
  );
  return { hosts: await Promise.all(hosts), members: members.map(({ name }) => name) };
}

export async function stepRecovery(ctx: Context, step: RecoveryStep): Promise<RecoveryAnswer> {
  switch (step.action) {
    case 'open':
      await openRecovery(ctx.db, new Date(Date.parse(ctx.now()) + step.minutes * 60_000).toISOString());
      return NOTHING;
    case 'close':
      await closeRecovery(ctx.db);
      return NOTHING;
    case 'admit':
      await admit(ctx, step.hosts);
      return NOTHING;
    case 'take':
      return take(ctx, step.partial);
  }
}

/** Throws `bad_request` for a host that has not asked, `conflict` when two of one name are named. */
async function admit(ctx: Context, hosts: readonly { name: string; key: string }[]): Promise<void> {
  const rows = await listRecoveries(ctx.db);
  const keys = await Promise.all(rows.map(({ publicKey }) => keyName(publicKey)));
  if (new Set(hosts.map(({ name }) => name)).size < hosts.length) {
    throw conflict('Two hosts of one name cannot both be taken in');
  }
  const chosen = hosts.map(({ name, key }) => {
    const row = rows.find((one, index) => one.name === name && keys[index] === key);
    if (row === undefined) throw badRequest(`No host "${name}" with this key has asked`);
    return row;
  });
  await admitRecovering(ctx.db, chosen, ctx.now());
  for (const { name } of chosen) ctx.log.info('recovery.admitted', { member: name });
}

/** What the member's host has. Throws `conflict` unless it is being recovered. */
export async function giveInventory(ctx: Context, member: string, inventory: HostInventory): Promise<void> {
  if (!(await keepInventory(ctx.db, member, inventory))) throw conflict(`"${member}" is not being recovered`);
}

/** Together, so that of what several hosts tell the newest counts. */
async function take(ctx: Context, partial: boolean): Promise<RecoveryAnswer> {
  const admitted = (await listRecoveries(ctx.db)).filter(({ state }) => state === 'admitted');
  const asked = await Promise.allSettled(
    admitted.map(({ name }) => ctx.objects.links.query(name, 'host.inventory', {}, INVENTORY_LIMIT_MS)),
  );
  asked.forEach((answer, index) => {
    if (answer.status === 'fulfilled') return;
    ctx.log.warn('recovery.host.silent', { member: admitted[index]?.name }, answer.reason);
  });
  const rows = (await listRecoveries(ctx.db)).filter(({ state }) => state === 'admitted');
  const shares = rows.flatMap((row: RecoveryRow) => {
    const inventory = inventoryOf(row);
    return inventory === null ? [] : [{ member: row.name, inventory }];
  });
  const awaited = rows.filter(({ name }) => !shares.some(({ member }) => member === name)).map(({ name }) => name);
  if (shares.length === 0 || (awaited.length > 0 && !partial)) return { ...NOTHING, awaited };
  const plan = planRecovery(shares, await readKnown(ctx.db));
  const images = await withContent(ctx, plan.images);
  const lost = plan.images.filter((image) => !images.includes(image));
  const aliases = plan.aliases.filter(
    (alias) => !lost.some(({ project, fingerprint }) => project === alias.project && fingerprint === alias.fingerprint),
  );
  await applyRecovery(ctx.db, { ...plan, images, aliases }, ctx.now());
  // They come back with all they have, and are told of what is theirs now.
  await Promise.allSettled(shares.map(({ member }) => ctx.objects.links.again(member)));
  const { config, groups, projects, profiles, pools, networks, volumes, instances } = plan;
  const kinds = { config, groups, projects, profiles, pools, networks, volumes, images, aliases, instances };
  return {
    taken: Object.fromEntries(Object.entries(kinds).map(([kind, entries]) => [kind, entries.length])),
    notes: [
      ...plan.notes,
      ...(lost.length > 0 ? [`The content of ${lost.length} images is lost: import them again`] : []),
    ],
    awaited,
  };
}

/** Images whose content the blob store still has. */
async function withContent<T extends { parts: readonly { key: string }[] }>(ctx: Context, images: T[]): Promise<T[]> {
  const kept: T[] = [];
  for (const image of images) {
    const found = await Promise.all(image.parts.map(({ key }) => hasBlob(ctx, key)));
    if (found.every(Boolean)) kept.push(image);
  }
  return kept;
}

async function hasBlob(ctx: Context, key: string): Promise<boolean> {
  const blob = await ctx.blobs.get(key);
  await blob?.body.cancel();
  return blob !== null;
}
