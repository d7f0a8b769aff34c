/** Reading and changing the server's configuration (lxd-api 10.10). */
import { badRequest, notFound } from '#protocol/errors.ts';
import { parseBool } from '#protocol/units.ts';
import type { Config } from '#worker/domain/config.ts';
import { checkServerConfig, isMemberKey, TRUST_PASSWORD } from '#worker/domain/server-config.ts';
import { hashPassword } from '#worker/lib/crypto.ts';
import { deleteServerConfig, findServerConfig, listServerConfig, putServerConfig } from '#worker/state/config.ts';
import { findMember } from '#worker/state/members.ts';
import { lifecycle, makeChange } from './changes.ts';
import type { Authorized, Context } from './context.ts';

/** Stored under the empty member name: local keys of the control plane, for callers that mean no member. */
const CONTROL_PLANE = '';

/** Whose local keys a request means: `?target=`, else the local socket's member. Throws 404 for an unknown target. */
export async function localScope(ctx: Authorized, target: string | null): Promise<string> {
  if (target === null || target.startsWith('@')) return ctx.principal.member ?? CONTROL_PLANE;
  if ((await findMember(ctx.db, target)) === undefined) throw notFound('Cluster member');
  return target;
}

/** What the API shows: all strings, secrets as `"true"`, the addresses that clients reach this server under. */
export async function getServerConfig(ctx: Context, scope: string): Promise<Config> {
  return visible(ctx, await listServerConfig(ctx.db), scope);
}

/** Whether anybody may read metrics: `core.metrics_authentication` is false. */
export const areMetricsOpen = async (ctx: Context): Promise<boolean> =>
  parseBool((await findServerConfig(ctx.db, 'core.metrics_authentication')) ?? 'true') === false;

/** Whether a member's agent may speak for the users of its host's local socket: `core.local_access`, unless it is false. */
export const isLocalAccessOpen = async (ctx: Context): Promise<boolean> =>
  parseBool((await findServerConfig(ctx.db, 'core.local_access')) ?? 'true') !== false;

const computed = (ctx: Context): Config => {
  const [address] = ctx.vars.publicAddresses;
  return address === undefined ? {} : { 'cluster.https_address': address, 'core.https_address': address };
};

const storedKey = (key: string, scope: string) => (isMemberKey(key) ? `${scope}/${key}` : key);

function visible(ctx: Context, stored: Config, scope: string): Config {
  const shown = Object.entries(stored).flatMap(([key, value]): [string, string][] => {
    if (key === TRUST_PASSWORD) return [[key, 'true']];
    const slash = key.indexOf('/');
    const local = key.slice(slash + 1);
    if (slash === -1 || !isMemberKey(local)) return [[key, value]];
    return key.slice(0, slash) === scope ? [[local, value]] : [];
  });
  return { ...computed(ctx), ...Object.fromEntries(shown) };
}

/**
 * Replaces the configuration, or merges into it. An empty value removes a key; `core.trust_password: "true"` leaves the
 * password as it is. Throws 400 with LXD's text for a key or value that is not good; then nothing is changed.
 */
export async function updateServerConfig(
  ctx: Authorized,
  scope: string,
  wanted: Config,
  mode: 'replace' | 'merge',
): Promise<void> {
  const before = visible(ctx, await listServerConfig(ctx.db), scope);
  // What is computed and comes back as it was is not stored: it follows the server's addresses.
  const given = Object.fromEntries(
    Object.entries(wanted).filter(([key, value]) => computed(ctx)[key] !== value || before[key] !== value),
  );
  const refusal = checkServerConfig(given);
  if (refusal !== null) throw badRequest(refusal);
  const removed = mode === 'replace' ? Object.keys(before).filter((key) => !(key in wanted)) : [];
  const writes = [];
  for (const [key, value] of Object.entries(given)) {
    if (value === '') removed.push(key);
    else if (key === TRUST_PASSWORD && value !== 'true') {
      writes.push(putServerConfig(ctx.db, key, await hashPassword(value)));
    } else if (before[key] !== value && key !== TRUST_PASSWORD) {
      writes.push(putServerConfig(ctx.db, storedKey(key, scope), value));
    }
  }
  writes.push(...removed.map((key) => deleteServerConfig(ctx.db, storedKey(key, scope))));
  if (writes.length === 0) return;
  await makeChange(ctx, { writes, events: [lifecycle(ctx, 'config-updated', '/1.0')] });
}
