/** Who an OIDC access token is from. */
import { decodeJwt } from 'jose';
import { builtinIssuers } from '#worker/domain/oidc.ts';
import { isPrivateHost } from '#worker/domain/webhook.ts';
import type { Env } from '#worker/env.ts';
import { createIssuerKeys, type IssuerKeys, type IssuerMemory, newIssuerMemory } from '#worker/lib/issuer-keys.ts';
import type { Logger } from '#worker/lib/log.ts';
import { fetchJson } from '#worker/lib/outbound.ts';
import type { Context } from '#worker/services/context.ts';
import { recognizeBuiltinToken } from '#worker/services/oidc-access.ts';
import { recognizeExternalToken } from '#worker/services/oidc-external.ts';
import { readOidcMode } from '#worker/state/oidc.ts';

export interface OidcUser {
  username: string;
  projects: string[] | null;
  readOnly: boolean;
}

/**
 * The user behind `token`, which names a URL as its issuer. Null for a token that is not good here. Whom a configured issuer
 * vouches for is trusted with everything, as by Incus; a user of the built-in one has the rights given to that user. Throws
 * `unavailable` when the database is away; an issuer that is away makes its tokens bad, not the request fail.
 */
export async function oidcUser(env: Env, ctx: Context, token: string): Promise<OidcUser | null> {
  const { iss } = decodeJwt(token);
  if (iss !== undefined && builtinIssuers(ctx.vars.publicAddresses).includes(iss)) {
    const user = await recognizeBuiltinToken(ctx, token);
    return user === null ? null : { username: user.name, projects: user.projects, readOnly: user.readOnly };
  }
  const mode = await readOidcMode(ctx.db);
  if (mode?.kind !== 'external' || mode.issuer !== iss) return null;
  const keys = keysFor(env, mode.allowPrivate, ctx.log);
  const username = await recognizeExternalToken(mode, keys, token, ctx.now());
  return username === null ? null : { username, projects: null, readOnly: false };
}

/** In this isolate, by whether the issuer may be at a private address: what was read there does not count elsewhere. */
const memories = new WeakMap<Env, Map<boolean, IssuerMemory>>();

function keysFor(env: Env, allowPrivate: boolean, log: Logger): IssuerKeys {
  const byAccess = memories.get(env) ?? new Map<boolean, IssuerMemory>();
  memories.set(env, byAccess);
  const memory = byAccess.get(allowPrivate) ?? newIssuerMemory();
  byAccess.set(allowPrivate, memory);
  return createIssuerKeys({
    memory,
    read: (url) => fetchJson(env, url, { allowPrivate }),
    mayLead: (url) => mayLead(url, allowPrivate),
    onFailure: (error) => log.warn('oidc.issuer.failed', {}, error),
  });
}

/** What a name leads to is checked where the connection is made. */
function mayLead(text: string, allowPrivate: boolean): boolean {
  const { protocol, hostname } = new URL(text);
  const isPrivate = isPrivateHost(hostname);
  return allowPrivate
    ? protocol === 'https:' || (protocol === 'http:' && isPrivate)
    : protocol === 'https:' && !isPrivate;
}
