/** The key pair of the built-in issuer: made when it is first needed, its private half encrypted at rest. */
import type { JWK } from 'jose';
import { z } from 'zod';
import { newOidcKey, type OidcKey } from '#worker/lib/oidc-token.ts';
import type { Sealer } from '#worker/lib/seal.ts';
import { findOidcKey, replaceOidcKey } from '#worker/state/oidc.ts';
import type { Context } from './context.ts';

const Jwk = z.looseObject({ kty: z.string() });
const Stored = z.object({ kid: z.string(), publicKey: Jwk, sealed: z.string() });

const sealedFor = (kid: string) => `oidc key ${kid}`;

/** Null while no login has needed one. */
export async function findPublicKey(ctx: Context): Promise<JWK | null> {
  const stored = await findOidcKey(ctx.db);
  return stored === undefined ? null : Stored.parse(JSON.parse(stored)).publicKey;
}

/** For signing. A pair that cannot be opened, because the signing secret is another one now, is replaced. */
export async function ensureOidcKey(ctx: Context & { sealer: Sealer }): Promise<OidcKey> {
  const before = await findOidcKey(ctx.db);
  const known = before === undefined ? null : await open(ctx, before);
  if (known !== null) return known;
  const fresh = await newOidcKey(ctx.newId());
  const sealed = await ctx.sealer.seal(JSON.stringify(fresh.privateKey), sealedFor(fresh.kid));
  const { kid, publicKey } = fresh;
  await replaceOidcKey(ctx.db, before ?? null, JSON.stringify({ kid, publicKey, sealed }));
  const stored = await findOidcKey(ctx.db);
  const now = stored === undefined ? null : await open(ctx, stored);
  if (now === null) throw new Error('The key of the OIDC issuer cannot be opened');
  return now;
}

async function open({ sealer, log }: Context & { sealer: Sealer }, stored: string): Promise<OidcKey | null> {
  const { kid, publicKey, sealed } = Stored.parse(JSON.parse(stored));
  try {
    return { kid, publicKey, privateKey: Jwk.parse(JSON.parse(await sealer.open(sealed, sealedFor(kid)))) };
  } catch (error) {
    log.warn('oidc.key.unreadable', { kid }, error);
    return null;
  }
}
