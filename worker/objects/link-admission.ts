/**
 * Who comes: the member that a hello names, one that has another name by now, or one that was removed. Each refusal says what
 * the agent has to know, and only the holder of the key is told.
 */
import { conflict, forbidden, toWireError } from '#protocol/errors.ts';
import { helloPayload } from '#protocol/frames.ts';
import { placeOf, removedText } from '#worker/domain/member.ts';
import { verifyEd25519 } from '#worker/lib/ed25519.ts';
import { recordTwin } from '#worker/state/barred-boots.ts';
import type { Db } from '#worker/state/db.ts';
import { type FormerMember, findNameOfKey, readFormerNames, recordRefused } from '#worker/state/former-members.ts';
import { findMember } from '#worker/state/members.ts';
import { noteRecovering, readRecoveryWindow } from '#worker/state/recovery.ts';
import { type Hello, judgeHello } from './handshake.ts';
import type { Refusal } from './link-sockets.ts';

export type Admission =
  | { ok: true; publicKey: string; wasRenamed: boolean; blocked: boolean; isBarred: boolean }
  | { ok: false; refusal: Refusal };

/** Judges a hello by what libSQL knows. Records the warnings that belong to a refusal. Throws when libSQL does not answer. */
export async function admit(
  db: Db,
  hello: Hello,
  expected: { member: string; nonce: string },
  seenFrom = '',
): Promise<Admission> {
  const { member, nonce } = expected;
  const [row, formers] = await Promise.all([findMember(db, member), readFormerNames(db, member)]);
  const verdict = await judgeHello(hello, expected, row);
  if (verdict.ok && row !== undefined) {
    const { publicKey, barredBoots } = row;
    const isBarred = hello.bootId !== undefined && barredBoots.includes(hello.bootId);
    const wasRenamed = formers.some((former) => former.publicKey === publicKey);
    return { ok: true, publicKey, wasRenamed, blocked: verdict.blocked, isBarred };
  }
  const now = new Date().toISOString();
  for (const former of hello.member === member ? formers : []) {
    if (former.name !== member || former.publicKey === row?.publicKey) continue;
    if (!(await verifyEd25519(former.publicKey, hello.signature, helloPayload({ ...hello, nonce })))) continue;
    return { ok: false, refusal: await refuseFormer(db, former, now) };
  }
  if (row === undefined && hello.member === member) {
    const refusal = await askRecovery(db, hello, nonce, now);
    if (refusal !== null) return { ok: false, refusal };
  }
  const error = verdict.ok ? forbidden('Not a member') : verdict.error;
  if (!verdict.ok && verdict.stale) {
    const [holder, comer] = [placeOf(row?.resources.addresses ?? [], ''), placeOf(hello.resources.addresses, seenFrom)];
    await recordTwin(db, { member, message: `${error.message}: it is at ${holder}, this one at ${comer}`, now });
  }
  return { ok: false, refusal: { error: toWireError(error), retry: verdict.ok ? false : verdict.retry } };
}

async function refuseFormer(db: Db, former: FormerMember, now: string): Promise<Refusal> {
  const renamed = former.kind === 'renamed' ? await findNameOfKey(db, former.publicKey) : undefined;
  if (renamed !== undefined) {
    const error = conflict(`Cluster member "${former.name}" is called "${renamed}" now`);
    return { error: toWireError(error), retry: true, renamed };
  }
  await recordRefused(db, former, now);
  const error = forbidden(removedText(former.name, former.since));
  return { error: toWireError(error), retry: false, removed: { cleanUp: former.cleanUp } };
}

/** While somebody is at it to recover the cluster: often. */
const RECOVERY_RETRY_MS = 2_000;

/**
 * A host that is unknown because everything is: its wish to be taken in is noted while that is asked for; before, it is told
 * to come again soon. Null: there is a cluster, and it is none of it.
 */
async function askRecovery(db: Db, hello: Hello, nonce: string, now: string): Promise<Refusal | null> {
  const { isOpen, isUnused } = await readRecoveryWindow(db, now);
  const { member: name, publicKey, resources, signature } = hello;
  const isProved =
    publicKey !== undefined && (await verifyEd25519(publicKey, signature, helloPayload({ ...hello, nonce })));
  if (isOpen && isProved) {
    await noteRecovering(db, { name, publicKey, resources, now });
    const error = conflict(`"${name}" waits to be taken into the recovered cluster`);
    return { error: toWireError(error), retry: true, retryMs: RECOVERY_RETRY_MS };
  }
  if (!isUnused) return null;
  const error = forbidden('This control plane has no members: recover the cluster, or join this host with a new token');
  return { error: toWireError(error), retry: true };
}
