/**
 * Tokens: join tokens for hosts, certificate tokens for clients. Each is an operation of class token, as in LXD, alive until
 * it is used, cancelled or expired. The secret is in the answer to the request that made it and nowhere else: stored is its
 * hash, and operations shown later carry `SECRET_NOT_KEPT`, so that clients still list and revoke them.
 */
import type { CertificatesPost } from '#protocol/api/certificate.ts';
import { badRequest, conflict } from '#protocol/errors.ts';
import { checkMemberName } from '#protocol/names.ts';
import { parseExpiry } from '#worker/domain/server-config.ts';
import { shiftIso } from '#worker/lib/clock.ts';
import { newSecret, sha256Hex } from '#worker/lib/crypto.ts';
import { findServerConfig } from '#worker/state/config.ts';
import { findMember, memberUrl } from '#worker/state/members.ts';
import {
  type ApiOperation,
  cancelOperations,
  insertOperation,
  listExpiredTokens,
  operationEvent,
  operationRow,
  operationToApi,
} from '#worker/state/operations.ts';
import type { LifecycleDraft } from '#worker/state/plan.ts';
import { insertToken, listWaitingJoinTokens, type TokenRow } from '#worker/state/tokens.ts';
import { checkProjects } from './certificates.ts';
import { lifecycle, locationOf, makeChange, spread } from './changes.ts';
import type { Authorized, Context } from './context.ts';
import { serverFingerprint } from './server-certificate.ts';

/** Stands where the secret was; no client takes it for one. */
export const SECRET_NOT_KEPT = 'shown-once';

/** LXD's default for `cluster.join_token_expiry`. */
export const JOIN_LIFE = '3H';

/** A join token for `name`. An earlier one for the same name is cancelled. Throws 400 or 409 for a name that cannot join. */
export async function issueJoinToken(ctx: Authorized, name: string): Promise<ApiOperation> {
  const refusal = checkMemberName(name);
  if (refusal !== null) throw badRequest(refusal);
  if ((await findMember(ctx.db, name)) !== undefined) {
    throw conflict(`The cluster already has a member with name: ${name}`);
  }
  const earlier = await listWaitingJoinTokens(ctx.db, name);
  if (earlier.length > 0) {
    const ids = earlier.map(({ operationId }) => operationId);
    await spread(ctx, await cancelOperations(ctx.db, ids, ctx.now()));
  }
  const life = (await findServerConfig(ctx.db, 'cluster.join_token_expiry')) ?? JOIN_LIFE;
  const expiresAt = shiftIso(ctx.now(), parseExpiry(life) ?? 0);
  return issue(ctx, {
    token: { kind: 'join', name, grant: null, expiresAt },
    resources: { cluster: [] },
    metadata: { serverName: name, expiresAt },
    events: [lifecycle(ctx, 'cluster-token-created', memberUrl(name))],
  });
}

/** A token that lets one client add its own certificate, with the name, restriction and projects given here. */
export async function issueCertificateToken(ctx: Authorized, request: CertificatesPost): Promise<ApiOperation> {
  const { name, restricted } = request;
  const type = request.type === '' ? 'client' : request.type;
  if (type !== 'client') throw badRequest('Tokens can only be issued for client certificates');
  const projects = await checkProjects(ctx, request.projects);
  const life = await findServerConfig(ctx.db, 'core.remote_token_expiry');
  const expiresAt = life === undefined ? null : shiftIso(ctx.now(), parseExpiry(life) ?? 0);
  return issue(ctx, {
    token: { kind: 'certificate', name, grant: { type, restricted, projects }, expiresAt },
    resources: null,
    metadata: {
      request: { name, type, restricted, projects, certificate: '', password: '', token: true },
      ...(expiresAt === null ? {} : { expiresAt }),
    },
    events: [],
  });
}

interface Issue {
  token: Pick<TokenRow, 'kind' | 'name' | 'grant' | 'expiresAt'>;
  resources: Record<string, string[]> | null;
  metadata: Record<string, unknown>;
  events: LifecycleDraft[];
}

async function issue(ctx: Authorized, { token, resources, metadata, events }: Issue): Promise<ApiOperation> {
  const operationId = ctx.newId();
  const secret = newSecret();
  const shared = {
    ...metadata,
    addresses: ctx.vars.publicAddresses,
    fingerprint: (await serverFingerprint(ctx.vars)) ?? '',
  };
  const now = ctx.now();
  const row = operationRow(
    {
      id: operationId,
      project: '',
      class: 'token',
      description: 'Executing operation',
      resources,
      metadata: { ...shared, secret: SECRET_NOT_KEPT },
      mayCancel: true,
      location: locationOf(ctx),
    },
    now,
  );
  const stored = insertToken(ctx.db, { ...token, operationId, secretHash: await sha256Hex(secret) });
  await makeChange(ctx, { writes: [insertOperation(ctx.db, row), stored], events });
  await spread(ctx, { events: [operationEvent(row)], deliveries: [] });
  return { ...operationToApi(row), metadata: { ...shared, secret } };
}

/** Ends the operations of tokens whose time is over. Looked at when tokens are listed, and by the scheduled job. */
export async function cancelExpiredTokens(ctx: Context): Promise<void> {
  const ids = await listExpiredTokens(ctx.db, ctx.now());
  if (ids.length > 0) await spread(ctx, await cancelOperations(ctx.db, ids, ctx.now()));
}
